"""Messages of NATS, Redis, RabbitMQ, MQTT and Kafka as the source of an open pipeline; needs the extra ``faststream``.

::

    questions = PipelineConsumer(pipeline)
    questions.subscribe(broker, "questions", stream="bank", durable="bank")  # as ``broker.subscriber``
    app = FastStream(broker, lifespan=questions.lifespan)

A message is an ID, or with ``id=`` a record. It is acknowledged once its item has ended, children included, and its
rows are committed. What is guaranteed with which broker is in ``docs/event_driven.md``.

What is where:

- ``consumer.py``: ``PipelineConsumer``: the app's lifespan
- ``subscription.py``: what becomes of a message
- ``brokers.py``: what differs between brokers
- ``publishing.py``: outcomes, and those that are too large
- ``liveness.py``: whether messages still arrive; starting a dead subscriber again
- ``messages.py``: what is in a message, and what is published of it
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
