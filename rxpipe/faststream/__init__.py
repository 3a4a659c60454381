"""Takes messages of NATS, Redis, RabbitMQ, MQTT and Kafka into an open pipeline. Needs the extra ``faststream``.

::

    questions = PipelineConsumer(pipeline)
    questions.subscribe(broker, "questions", stream="bank", durable="bank")  # as ``broker.subscriber``
    app = FastStream(broker, lifespan=questions.lifespan)

A message is an ID, or with ``id=`` a record. The message is acknowledged once its item has ended, children included,
and its rows are committed. ``docs/event_driven.md`` says what each broker guarantees.

- ``consumer.py``: ``PipelineConsumer``, the app's lifespan
- ``subscription.py``: handles each message and settles it
- ``brokers.py``: the differences between brokers
- ``publishing.py``: publishes outcomes, and handles those that are too large
- ``liveness.py``: checks that messages still arrive; restarts a dead subscriber
- ``messages.py``: reads the body of a message; makes the bodies that are published
"""

from __future__ import annotations

from rxpipe.errors import ConfigError
from rxpipe.extras import install

try:
    from rxpipe.faststream.consumer import PipelineConsumer
    from rxpipe.faststream.subscription import Publisher, Registrator
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "faststream":
        raise
    raise ConfigError(f"brokers need the extra faststream: {install('faststream')}") from missing

__all__ = ["PipelineConsumer", "Publisher", "Registrator"]
