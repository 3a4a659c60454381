"""``PipelineConsumer``: takes messages of brokers into an open pipeline, and acknowledges or rejects them."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Annotated, Any

import structlog
from faststream import AckPolicy, Context

from rxpipe.errors import PipelineClosed
from rxpipe.faststream.brokers import BEGIN, PARSERS, broker_name, subscriptions
from rxpipe.faststream.messages import readable
from rxpipe.faststream.publishing import check_publisher
from rxpipe.faststream.subscription import Publisher, Registrator, Subscription
from rxpipe.log_values import say
from rxpipe.logs import Logging
from rxpipe.pipeline.open import OpenPipeline
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.plan import window_of
from rxpipe.pipeline.record import IdOf

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_COMMIT = 0.05  # seconds that a row may wait for its transaction
_RATE = 1000  # rows per second that the messages in flight must suffice for
_PAUSE = 1.0  # seconds before a message is given back; the broker would deliver it again at once
_AT_ONCE = 16  # acknowledgements at once; Redis' client uses a connection for each, of at most 100


class PipelineConsumer:
    """Takes items from messages into a pipeline that is open while the app runs.

    A message is acknowledged once its item has ended and its rows are committed.

    Attributes:
        prefetch: Most messages that each subscription has in hand. The default is the number of items that the stages
            hold, plus 50: the rows that wait for their commit, at 50 ms and 1,000 rows a second.
    """

    def __init__(self, pipeline: Pipeline, *, grace: float | None = 25.0, prefetch: int | None = None) -> None:
        """Describe a consumer; nothing is opened yet.

        Args:
            pipeline: The pipeline that gets the items. With a store, a message that comes again costs no second call.
            grace: Seconds that messages in hand have to finish when the app stops. Then they are given back to the
                broker. None sets no limit.
            prefetch: Most messages that each subscription has in hand.

        Raises:
            ValueError: ``prefetch`` is below 1; or ``prefetch`` is missing and a stage's queue has no bound; or
                ``grace`` is below 0; or the pipeline is ``staged``, which emits nothing before its source ends.
        """
        pipeline.open(grace=grace)  # raises now for a pipeline that could not be opened when the app starts
        if prefetch is None:
            if math.isinf(window_of(pipeline)):
                raise ValueError("a stage's queue has no bound: say with prefetch= how many messages may be in hand")
            prefetch = int(window_of(pipeline)) + math.ceil(_COMMIT * _RATE)
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, not {prefetch}")
        self.prefetch = prefetch
        self.is_logged = any(isinstance(each, Logging) for each in pipeline.listeners)
        self._pipeline = pipeline
        self._grace = grace
        self._subscriptions: list[Subscription] = []
        self._running: OpenPipeline | None = None
        self._stack = AsyncExitStack()
        self.stopping = asyncio.Event()
        self._failure: Exception | None = None
        self._app: Any = None
        self._is_over = False
        self.telling = asyncio.Semaphore(_AT_ONCE)
        self.restarting = asyncio.Lock()
        self.down: dict[Any, str] = {}
        self._watches: list[asyncio.Task[None]] = []

    @property
    def running(self) -> OpenPipeline:
        """The open pipeline, with its health and its events.

        Raises:
            PipelineClosed: The app has not started, or has ended.
        """
        if self._running is None:
            raise PipelineClosed("the pipeline is not open: give lifespan to the app")
        return self._running

    @property
    def in_flight(self) -> int:
        """Number of messages in hand: received, and neither acknowledged nor given back."""
        return sum(sum(subscription.held.values()) for subscription in self._subscriptions)

    def subscribe(
        self,
        broker: Registrator,
        *args: Any,
        outcomes: Publisher | None = None,
        dead_letters: Publisher | None = None,
        lease: float = 60.0,
        id: IdOf | None = None,
        **options: Any,
    ) -> None:
        """Take items from a subject, a stream, a queue or a topic.

        ::

            questions.subscribe(broker, "questions", stream="bank", durable="bank")  # a body is an ID
            questions.subscribe(broker, "questions", stream="bank", durable="bank", id="number")  # a value with an ID

        Without ``id``, a body is an ID: an int or a str, as JSON or as plain text. With ``id``, a body is a JSON
        object, and the first stage gets the whole object. A ``decoder`` may make either from other formats.

        This method sets the bounds and the acknowledgement. All other options are those of ``broker.subscriber``.

        Args:
            broker: A broker or a router of FastStream, for NATS, Redis, RabbitMQ, MQTT or Kafka.
            args: For ``broker.subscriber``.
            outcomes: Publishes the outcome of each message's item, before the message is acknowledged: ``id``,
                ``parent``, ``status``, ``value``, ``error``, ``stage``, ``attempts``, ``seconds``. Outcomes of children
                are not published.
            dead_letters: Publishes the same for failed items, and for failed children of an expanded item. Also
                publishes messages that are no ID, with ``body`` and ``message_id``.
            lease: NATS and Redis only: seconds after which other consumers get the messages of a consumer that gives no
                sign of life.
            id: The field of the body that is the ID, or a quick function of the decoded body that returns the ID.
                ``content_id`` makes an ID from the content. A body without an ID is rejected.
            options: For ``broker.subscriber``.

        Raises:
            TypeError: The broker is of another kind; or a Redis subscription is not of a stream with a group; or
                ``outcomes`` or ``dead_letters`` is not a publisher; or ``dead_letters`` is a Redis channel; or
                ``ack_policy`` or ``no_reply`` is given; or ``id`` is neither a field's name nor a plain function.
            ValueError: ``lease`` is not above 0; or ``id`` is given, and the store fails when a record has changed.
        """
        for option in {"ack_policy", "no_reply"} & set(options):
            raise TypeError(f"{option} is not to be given: a message is acknowledged once its row is committed")
        if not (id is None or isinstance(id, str) or callable(id)) or inspect.iscoroutinefunction(id):
            raise TypeError(f"id must be the name of a field, or a plain function of the body, not {id!r}")
        if id is not None and getattr(self._pipeline.store, "on_change", None) == "fail":
            raise ValueError('on_change="fail" of the store would have a message come for ever: give "keep" or "redo"')
        check_publisher("outcomes", outcomes)
        check_publisher("dead_letters", dead_letters)
        if not lease > 0:
            raise ValueError(f"lease must be above 0 seconds, not {lease}")
        name = broker_name(broker)
        own_parser = options.get("parser") or getattr(getattr(broker, "config", None), "broker_parser", None)
        options |= {"ack_policy": AckPolicy.MANUAL, "no_reply": True}
        for each, its_lease in subscriptions(name, options, self.prefetch, lease):
            subscriber = broker.subscriber(*args, **each)
            if name in BEGIN:
                BEGIN[name](subscriber)
            subscription = Subscription(self, subscriber, name, its_lease, outcomes, dead_letters, id)
            subscription.guard(broker)
            subscriber(subscription.handle, filter=readable, parser=None if own_parser else PARSERS.get(name))
            self._subscriptions.append(subscription)

    @asynccontextmanager
    async def lifespan(self, app: Annotated[Any, Context("app", default=None)] = None) -> AsyncGenerator[None, None]:
        """Keep the pipeline open while the app runs.

        Use it as ``FastStream(broker, lifespan=...)``, or as ``async with`` around the broker. When the app stops, the
        consumer takes no more messages. It finishes and acknowledges those in hand before the app leaves the broker.

        Raises:
            Exception: The pipeline's failure. The app then ends, and other consumers get its messages.
        """
        self.stopping, self._failure, self._is_over, self._app = asyncio.Event(), None, False, app
        self.telling, self.restarting, self.down = asyncio.Semaphore(_AT_ONCE), asyncio.Lock(), {}
        self._running = await self._stack.enter_async_context(self._pipeline.open(grace=self._grace))
        if app is not None:
            app.on_shutdown(self.drain)  # FastStream calls it before it leaves the broker
        loop = asyncio.get_running_loop()

        def failed(error: Exception) -> None:
            loop.call_soon_threadsafe(self._fail, error)

        self._running.outcomes.subscribe(on_error=failed)
        self._running.add_check(self._trouble)
        for subscription in self._subscriptions:
            subscription.stop_in_time()
        self._watches = [asyncio.create_task(each.watch()) for each in self._subscriptions]
        signs = [asyncio.create_task(each.give_signs_of_life()) for each in self._subscriptions]
        try:
            yield
        finally:
            await self.drain()
            await _cancel(signs)
            self._running = None
        if self._failure is not None:
            raise self._failure

    async def drain(self) -> None:
        """Take no more messages, and wait until those in hand are finished. The app's lifespan calls it."""
        await _cancel(self._watches)  # otherwise they might restart the subscribers that are left now
        for subscription in self._subscriptions:
            await subscription.leave()
        self.stopping.set()
        try:
            await self._stack.aclose()
        except Exception as error:  # noqa: BLE001  # the app leaves the broker in any case; lifespan raises it
            self._failure = error

    def _trouble(self) -> str:
        return "; ".join(f"no messages arrive: {each.trouble}" for each in self._subscriptions if each.trouble)

    async def pause(self) -> None:
        """Wait a second, or until the app stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE):
                await self.stopping.wait()

    async def end(self, why: PipelineClosed) -> None:
        """End the app, and wait until it stops: a message given back earlier would come again at once."""
        self._fail(why.__cause__ or why)
        await self.stopping.wait()

    def _fail(self, error: BaseException) -> None:
        """End the app, unless it is already ending.

        The pipeline takes no more items, so the app has nothing left to do.
        """
        if self.stopping.is_set() or self._is_over:
            return
        self._is_over = True
        say(_log.critical, "pipeline has failed, the app ends", error=error)
        if self._app is not None:
            self._app.exit()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended: a broker's client may swallow a cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_PAUSE)
    # Otherwise asyncio logs that their exceptions were never retrieved.
    await asyncio.gather(*tasks, return_exceptions=True)
