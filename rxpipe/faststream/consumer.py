"""``PipelineConsumer``: takes messages of brokers into an open pipeline, and tells the brokers what became of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Annotated, Any, Literal, Protocol

import structlog
from faststream import AckPolicy, Context
from faststream.message import StreamMessage

from rxpipe.errors import ConfigError, PipelineClosed
from rxpipe.faststream.brokers import (
    BEGIN,
    LEAVE,
    PARSERS,
    SIGNS,
    Options,
    broker_name,
    check_publisher,
    publish,
    subscriptions,
)
from rxpipe.faststream.messages import MESSAGE, as_id, error_of, letter_of, readable, told_of
from rxpipe.logs import Logging
from rxpipe.open_pipeline import OpenPipeline
from rxpipe.pipeline import Pipeline

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_COMMIT = 0.05  # seconds that a row may wait for its transaction
_RATE = 1000  # rows a second that messages in flight suffice for
_PAUSE = 1.0  # seconds before a message is given back that would come again at once
_AT_ONCE = 16  # acknowledgements; Redis' client takes a connection for each, and has 100 at most

_Fate = Literal["ack", "reject", "redeliver"]


class Registrator(Protocol):
    """A broker of FastStream, or a router."""

    @property
    def subscriber(self) -> Callable[..., Any]:
        """Makes a subscriber."""
        ...


class Publisher(Protocol):
    """What ``broker.publisher(...)`` gives."""

    @property
    def publish(self) -> Callable[..., Awaitable[Any]]:
        """Publishes a message."""
        ...


class PipelineConsumer:
    """Takes IDs out of messages into a pipeline that is open as long as the app runs.

    Attributes:
        prefetch: Messages that each subscription has in hand at most: as many as the stages hold, and as wait for
            their rows' commit, for which 50 ms at 1,000 rows a second are counted.
    """

    def __init__(self, pipeline: Pipeline, *, grace: float | None = 25.0, prefetch: int | None = None) -> None:
        """Nothing is opened yet.

        Args:
            pipeline: Where the IDs go. With a store, a message that comes again costs no second call.
            grace: Seconds that messages in hand have to finish when the app stops; then they are given back to the
                broker. None: as long as it takes.
            prefetch: Messages that each subscription has in hand at most.

        Raises:
            ValueError: ``prefetch`` is below 1, or must be given, as a stage's queue has no bound; ``grace`` is below
                0; or the pipeline is ``staged``, which lets nothing out to the end.
        """
        pipeline.open(grace=grace)  # refuses what could not be opened when the app starts
        if prefetch is None:
            if math.isinf(pipeline.window):
                raise ValueError("a stage's queue has no bound: say with prefetch= how many messages may be in hand")
            prefetch = int(pipeline.window) + math.ceil(_COMMIT * _RATE)
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, not {prefetch}")
        self.prefetch = prefetch
        self.is_logged = any(isinstance(each, Logging) for each in pipeline.listeners)
        self._pipeline = pipeline
        self._grace = grace
        self._subscriptions: list[_Subscription] = []
        self._running: OpenPipeline | None = None
        self._stack = AsyncExitStack()
        self._stopping = asyncio.Event()
        self._failure: Exception | None = None
        self._app: Any = None
        self._is_over = False
        self.telling = asyncio.Semaphore(_AT_ONCE)

    @property
    def running(self) -> OpenPipeline:
        """The open pipeline: its health, its events.

        Raises:
            PipelineClosed: The app has not started, or is over.
        """
        if self._running is None:
            raise PipelineClosed("the pipeline is not open: give lifespan to the app")
        return self._running

    @property
    def in_flight(self) -> int:
        """Messages in hand: received, and neither acknowledged nor given back."""
        return sum(sum(subscription.held.values()) for subscription in self._subscriptions)

    def subscribe(
        self,
        broker: Registrator,
        *args: Any,
        outcomes: Publisher | None = None,
        dead_letters: Publisher | None = None,
        lease: float = 60.0,
        **options: Any,
    ) -> None:
        """Take IDs from a subject, a stream, a queue or a topic.

        Bounds and acknowledgement are set; anything else is as ``broker.subscriber`` has it. A body is an ID, an int
        or a str, as JSON or as plain text; give a ``decoder`` where it is anything else.

        Args:
            broker: A broker or a router of FastStream, for NATS, Redis, RabbitMQ, MQTT or Kafka.
            args: For ``broker.subscriber``.
            outcomes: A publisher that is told of every item that was written or has failed, before its message is
                acknowledged: ``id``, ``status``, ``value``, ``error``, ``stage``, ``attempts``, ``seconds``.
            dead_letters: The same, of failed items; and of messages that are no ID, with ``body`` and ``message_id``.
            lease: NATS and Redis: seconds after which messages of a consumer that gives no sign of life are others'.
            options: For ``broker.subscriber``.

        Raises:
            TypeError: It is no such broker, or a Redis subscription that is not a stream's with a group; what is to
                publish cannot, or is a Redis channel for dead letters; or ``ack_policy`` or ``no_reply`` is given.
            ValueError: ``lease`` is not above 0.
        """
        for option in {"ack_policy", "no_reply"} & set(options):
            raise TypeError(f"{option} is not to be given: a message is acknowledged once its row is committed")
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
            subscription = _Subscription(self, subscriber, name, its_lease, outcomes, dead_letters)
            subscriber(subscription.handle, filter=readable, parser=None if own_parser else PARSERS.get(name))
            self._subscriptions.append(subscription)

    @asynccontextmanager
    async def lifespan(self, app: Annotated[Any, Context("app", default=None)] = None) -> AsyncGenerator[None, None]:
        """Keep the pipeline open; for ``FastStream(broker, lifespan=...)``, or ``async with`` around the broker.

        When the app stops, no more messages are taken, and those in hand are finished and acknowledged before the
        broker is left.

        Raises:
            Exception: What the pipeline has failed with: then the app ends, and its messages are others'.
        """
        self._stopping, self._failure, self._is_over, self._app = asyncio.Event(), None, False, app
        self.telling = asyncio.Semaphore(_AT_ONCE)
        self._running = await self._stack.enter_async_context(self._pipeline.open(grace=self._grace))
        if app is not None:
            app.on_shutdown(self.drain)  # which comes before the broker is left
        loop = asyncio.get_running_loop()

        def failed(error: Exception) -> None:
            loop.call_soon_threadsafe(self._fail, error)

        self._running.outcomes.subscribe(on_error=failed)
        signs = [asyncio.create_task(each.give_signs_of_life()) for each in self._subscriptions]
        try:
            yield
        finally:
            await self.drain()
            for sign in signs:
                sign.cancel()
            await asyncio.gather(*signs, return_exceptions=True)
            self._running = None
        if self._failure is not None:
            raise self._failure

    async def drain(self) -> None:
        """Take no more messages, and wait until those in hand are finished; the app's lifespan does it."""
        for subscription in self._subscriptions:
            await subscription.leave()
        self._stopping.set()
        try:
            await self._stack.aclose()
        except Exception as error:  # noqa: BLE001  # the broker is to be left in any case: lifespan raises it
            self._failure = error

    async def pause(self) -> None:
        """Wait a moment, or until the app stops."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), _PAUSE)

    async def end(self, why: PipelineClosed) -> None:
        """Have the app end, and wait for it: a message given back before that would come again at once."""
        self._fail(why.__cause__ or why)
        await self._stopping.wait()

    def _fail(self, error: BaseException) -> None:
        """Have the app end, unless it does already: the pipeline takes no more, so nothing can be done here."""
        if self._stopping.is_set() or self._is_over:
            return
        self._is_over = True
        _log.critical("pipeline has failed, the app ends", error=f"{type(error).__name__}: {error}")
        if self._app is not None:
            self._app.exit()


class _Subscription:
    """One subscriber, and the messages that it has in hand."""

    def __init__(
        self,
        consumer: PipelineConsumer,
        subscriber: Any,
        broker: str,
        lease: float,
        outcomes: Publisher | None,
        dead_letters: Publisher | None,
    ) -> None:
        self.held: dict[StreamMessage[Any], int] = {}  # and how many they are: a batch comes as one
        self._consumer = consumer
        self._subscriber = subscriber
        self._broker = broker
        self._lease = lease
        self._outcomes = outcomes
        self._dead_letters = dead_letters

    async def handle(self, body: Any) -> None:
        """Take a message's ID through the pipeline, and acknowledge it by how that ended."""
        message = MESSAGE.get()
        is_batch = self._broker == "kafka"
        self.held[message] = len(body) if is_batch else 1
        try:
            await self._settle(message, await (self._batch if is_batch else self._one)(body, message))
        finally:
            del self.held[message]

    async def _batch(self, bodies: Any, message: StreamMessage[Any]) -> _Fate:
        fates = await asyncio.gather(*(self._one(body, message) for body in bodies))
        return "redeliver" if "redeliver" in fates else "ack"  # an offset stands for all before it

    async def _one(self, body: Any, message: StreamMessage[Any]) -> _Fate:
        item_id = as_id(body, message)
        if isinstance(item_id, ConfigError):
            _log.error("message is no ID, and is rejected", error=str(item_id), message_id=message.message_id)
            return await self._publish(letter_of(message, body, item_id), message, self._dead_letters, fate="reject")
        try:
            outcome = await self._consumer.running.submit(item_id)
        except PipelineClosed as closed:
            await self._consumer.end(closed)
            return "redeliver"
        if outcome.status == "cancelled":
            await self._consumer.pause()
            return "redeliver"
        if outcome.status == "written":
            return await self._publish(told_of(outcome), message, self._outcomes, fate="ack")
        log = _log.debug if self._consumer.is_logged else _log.warning  # one line each
        log("item of a message has failed", id=item_id, error=error_of(outcome), stage=outcome.stage)
        return await self._publish(told_of(outcome), message, self._dead_letters, self._outcomes, fate="reject")

    async def _publish(
        self, told: Options, message: StreamMessage[Any], *publishers: Publisher | None, fate: _Fate
    ) -> _Fate:
        """Publish before it is acknowledged: else a crash in between would lose it."""
        for publisher in publishers:
            if publisher is None:
                continue
            try:
                async with self._consumer.telling:
                    await publish(publisher, told, message.correlation_id)
            except Exception as error:  # noqa: BLE001  # whatever the broker's client raises: the message comes again
                event = "outcome was not published, its message comes again"
                _log.error(event, id=told["id"], message_id=message.message_id, error=repr(error))
                await self._consumer.pause()
                return "redeliver"
        return fate

    async def _settle(self, message: StreamMessage[Any], fate: _Fate) -> None:
        if fate == "reject" and self._broker == "redis":
            fate = "ack"  # streams know no other end
        settle = {"ack": message.ack, "reject": message.reject, "redeliver": message.nack}[fate]
        try:
            async with self._consumer.telling:
                await settle()
        except Exception as error:  # noqa: BLE001  # whatever the broker's client raises: the message comes again
            _log.warning("message was not acknowledged, and comes again", fate=fate, error=repr(error))

    async def leave(self) -> None:
        """Take no more messages; not by the subscriber's own stop, which waits for its graceful_timeout only."""
        self._subscriber.running = False
        if self._broker in LEAVE:
            await LEAVE[self._broker](self._subscriber)

    async def give_signs_of_life(self) -> None:
        """Keep the messages in hand from being given to others, however long they take."""
        sign = SIGNS.get(self._broker)
        while sign is not None:
            await asyncio.sleep(self._lease / 3)
            try:
                await sign(self._subscriber, list(self.held))
            except Exception as error:  # noqa: BLE001  # the broker is away: the next one may arrive
                _log.warning("broker was not told that messages are in hand", error=repr(error))
