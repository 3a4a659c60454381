"""One subscriber of a broker: handles each of its messages and settles it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any, Literal, Protocol

import structlog
from faststream import BaseMiddleware
from faststream.message import StreamMessage

from rxpipe.errors import ConfigError, PipelineClosed
from rxpipe.faststream.brokers import LEAVE, SIGNS, Options, key_of, note_ahead
from rxpipe.faststream.liveness import is_away, prepare, restart, stop_in_time, why_dead
from rxpipe.faststream.messages import MESSAGE, error_of, item_of, letter_of, shorter, told_of
from rxpipe.faststream.publishing import TooLargeError, publish
from rxpipe.log_values import one_line, say
from rxpipe.pipeline.open import OpenPipeline
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.record import IdOf, given

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Errors of the message itself, rather than of the connection to the broker.
_REFUSALS = (TypeError, ValueError, RecursionError)
_ENOUGH = 3  # refusals before giving up; a client may raise one when its connection is lost

_Settlement = Literal["ack", "reject", "redeliver"]


class Registrator(Protocol):
    """A broker of FastStream, or a router."""

    @property
    def subscriber(self) -> Callable[..., Any]:
        """Makes a subscriber."""
        ...

    @property
    def insert_middleware(self) -> Callable[..., Any]:
        """Puts a middleware around all other middlewares."""
        ...


class Publisher(Protocol):
    """A publisher, as ``broker.publisher(...)`` makes it."""

    @property
    def publish(self) -> Callable[..., Awaitable[Any]]:
        """Publishes a message."""
        ...


class Consumer(Protocol):
    """The state that several subscriptions share.

    Attributes:
        is_logged: True if a listener already logs failed items.
        telling: Held while a broker is told something.
        stopping: Set once no more messages are taken.
        restarting: Held while a subscriber is started again; the restart may include others of its broker.
        down: Subscribers and brokers that have stopped by themselves, with the reason.
    """

    is_logged: bool
    telling: asyncio.Semaphore
    stopping: asyncio.Event
    restarting: asyncio.Lock
    down: dict[Any, str]

    @property
    def running(self) -> OpenPipeline:
        """The open pipeline that gets the items."""
        ...

    async def pause(self) -> None:
        """Wait a second, or until the app stops."""
        ...

    async def end(self, why: PipelineClosed) -> None:
        """End the app, and wait until it stops."""
        ...


class Subscription:
    """One subscriber, and the messages that it has in hand.

    Attributes:
        held: Messages that are being handled, with the number of bodies in each: a batch is one message.
        ahead: Raw messages that were read and wait for a worker, by their keys.
        begun: Raw messages that a worker handles.
        trouble: Why no messages arrive, in a few words; empty if they arrive.
    """

    def __init__(
        self,
        consumer: Consumer,
        subscriber: Any,
        broker: str,
        lease: float,
        outcomes: Publisher | None,
        dead_letters: Publisher | None,
        id_of: IdOf | None,
    ) -> None:
        self.held: dict[StreamMessage[Any], int] = {}
        self.ahead: dict[Any, Any] = {}
        self.begun: dict[Any, Any] = {}
        self.trouble = ""
        self._is_dead = False  # and was dead at the last check
        self.subscriber = subscriber
        self._consumer = consumer
        self._broker = broker
        self._lease = lease
        self._outcomes = outcomes
        self._dead_letters = dead_letters
        self._id_of = id_of

    def guard(self, broker: Registrator) -> None:
        """Record messages from when they are read, and settle them where handling fails."""
        note_ahead(self.subscriber, self.ahead)
        prepare(self.subscriber, self._end)
        broker.insert_middleware(partial(_Guard, self))

    async def handle(self, body: Any) -> None:
        """Take a message's item through the pipeline, and settle the message by how the item ended."""
        message = MESSAGE.get()
        is_batch = self._broker == "kafka"
        self.held[message] = len(body) if is_batch else 1
        try:
            await self._settle(message, await (self._batch if is_batch else self._one)(body, message))
        finally:
            del self.held[message]

    async def _batch(self, bodies: Any, message: StreamMessage[Any]) -> _Settlement:
        settlements = await asyncio.gather(*(self._one(body, message) for body in bodies))
        return "redeliver" if "redeliver" in settlements else "ack"  # an offset stands for all messages before it

    async def _one(self, body: Any, message: StreamMessage[Any]) -> _Settlement:
        item = item_of(body, message, self._id_of)
        if isinstance(item, ConfigError):
            say(_log.error, "message is no ID, and is rejected", error=str(item), message_id=message.message_id)
            return await self._publish(letter_of(message, body, item), message, self._dead_letters, settlement="reject")
        try:
            outcome = await self._consumer.running.submit(given(item.id, item.value))
        except PipelineClosed as closed:
            await self._consumer.end(closed)
            return "redeliver"
        if outcome.status == "cancelled":
            await self._consumer.pause()
            return "redeliver"
        if outcome.status == "failed":
            self._log_failure(outcome)
            letters = self._dead_letters, self._outcomes
            return await self._publish(told_of(outcome), message, *letters, settlement="reject")
        for child in outcome.failures:  # before the message is acknowledged, like everything that is published
            self._log_failure(child)
            if await self._publish(told_of(child), message, self._dead_letters, settlement="ack") == "redeliver":
                return "redeliver"
        return await self._publish(told_of(outcome), message, self._outcomes, settlement="ack")

    def _log_failure(self, outcome: Outcome[Any]) -> None:
        log = _log.debug if self._consumer.is_logged else _log.warning  # each failure is one line of the log
        say(log, "item of a message has failed", id=outcome.id, error=error_of(outcome), stage=outcome.stage)

    async def _publish(
        self, told: Options, message: StreamMessage[Any], *publishers: Publisher | None, settlement: _Settlement
    ) -> _Settlement:
        """Publish before the message is acknowledged: otherwise a crash in between would lose the outcome."""
        for publisher in publishers:
            if publisher is not None and not await self._tell(publisher, told, message):
                return "redeliver"
        return settlement

    async def _tell(self, publisher: Publisher, told: Options, message: StreamMessage[Any]) -> bool:
        """Publish, again and again until it succeeds. Returns False if the app stops before that.

        The message stays in hand meanwhile: MQTT cannot give it back, and without a store its call would be made again.
        """
        refusals = 0
        while True:
            try:
                async with self._consumer.telling:
                    await publish(publisher, told, message.correlation_id)
                return True
            except BaseException as error:
                if not _is_survivable(error):
                    raise
                failure = error
            data = {"id": told["id"], "message_id": message.message_id, "error": failure}
            refusals += isinstance(failure, _REFUSALS)
            if isinstance(failure, TooLargeError) or refusals >= _ENOUGH:
                told, refusals = shorter(told) or {}, 0
                if not told:
                    say(_log.error, "outcome cannot be published, and is given up", **data)
                    return True
                say(_log.warning, "outcome is published without what is long", **data, left_out=told["left_out"])
                continue
            say(_log.error, "outcome was not published, another attempt follows", **data)
            if self._consumer.stopping.is_set():
                return False
            await self._consumer.pause()

    async def _settle(self, message: StreamMessage[Any], settlement: _Settlement) -> None:
        if settlement == "reject" and self._broker == "redis":
            settlement = "ack"  # streams have no other way to end a message
        settle = {"ack": message.ack, "reject": message.reject, "redeliver": message.nack}[settlement]
        _SETTLED.get().append(settlement)
        try:
            async with self._consumer.telling:
                await settle()
        except Exception as error:  # noqa: BLE001  # the broker's client may raise anything: the message comes again
            say(_log.warning, "message was not acknowledged, and comes again", settlement=settlement, error=error)

    async def reject(self, raw: Any, message: StreamMessage[Any] | None, error: BaseException | None) -> None:
        """Reject a message that made a parser, a middleware or this package fail: it would fail again."""
        why = "a middleware has not let it through" if error is None else one_line(error)
        say(_log.error, "message could not be handled, and is rejected", error=why)
        try:
            if message is None:
                message = await self.subscriber._parser(raw)  # as FastStream's own middleware does
            assert message is not None
            letter = letter_of(message, message.body, ConfigError(f"the message could not be handled: {why}"))
            await self._settle(message, await self._publish(letter, message, self._dead_letters, settlement="reject"))
        except Exception as failure:  # noqa: BLE001  # parsing the message may raise anything
            say(_log.error, "message could not be rejected", error=failure)

    async def leave(self) -> None:
        """Take no more messages.

        Does not use the subscriber's own stop, which waits for its ``graceful_timeout`` only.
        """
        self.subscriber.running = False
        ahead = list(self.ahead.values())
        self.ahead.clear()  # nobody here will take them: other consumers should get them soon
        if self._broker in LEAVE:
            try:
                await LEAVE[self._broker](self.subscriber, ahead)
            except Exception as error:  # noqa: BLE001  # the broker is away: it delivers them to others later
                # Otherwise the broker was told before, and the connection is closed.
                if not self._consumer.stopping.is_set():
                    say(_log.warning, "broker was not told that the app stops", error=error)

    def stop_in_time(self) -> None:
        """Limit the time that the app takes to leave the broker."""
        stop_in_time(self.subscriber)

    async def give_signs_of_life(self) -> None:
        """Keep the broker from giving messages to others while they wait for a worker or are in hand."""
        sign = SIGNS.get(self._broker)
        while sign is not None:
            await asyncio.sleep(self._lease / 3)
            try:
                await sign(self.subscriber, [*self.ahead.values(), *self.begun.values()])
            except Exception as error:  # noqa: BLE001  # the broker is away: the next sign may arrive
                say(_log.warning, "broker was not told that messages are in hand", error=error)

    async def watch(self) -> None:
        """Check every second that messages still arrive, and start the subscriber again if its client has given up."""
        has_started = False
        while not self._consumer.stopping.is_set():
            await self._consumer.pause()
            has_started = has_started or self.subscriber.running or self.subscriber in self._consumer.down
            if has_started:
                try:
                    await self._look()
                except Exception as error:  # noqa: BLE001  # the broker's client may raise anything
                    self.trouble = one_line(error)

    def _end(self, why: str) -> None:
        self._consumer.down[self.subscriber] = why

    async def _look(self) -> None:
        async with self._consumer.restarting:
            why = await why_dead(self._broker, self.subscriber, self._consumer.down)
            if why:
                if not self._is_dead:
                    say(_log.error, "messages arrive no more, the subscriber is started again", reason=why)
                self.trouble, self._is_dead = why, True
                await restart(self._broker, self.subscriber, self._consumer.down)
            self._is_dead = False
            self.trouble = "the connection is lost" if await is_away(self.subscriber) else ""


_SETTLED: ContextVar[list[_Settlement]] = ContextVar("settled")  # settlements of the message that is being handled


class _Guard(BaseMiddleware):
    """Makes sure that a message is settled, whatever its handling raises.

    A broker never delivers an unsettled one again.
    """

    def __init__(self, subscription: Subscription, raw: Any, /, *, context: Any) -> None:
        super().__init__(raw, context=context)
        self._subscription = subscription
        self._message: StreamMessage[Any] | None = None
        self._settled: list[_Settlement] = []

    @property
    def _is_own(self) -> bool:
        return self.context.get_local("handler_") is self._subscription.subscriber

    async def __aenter__(self) -> _Guard:
        if self._is_own:
            self._subscription.ahead.pop(key_of(self.msg), None)
            self._subscription.begun[key_of(self.msg)] = self.msg
            _SETTLED.set(self._settled)
        return self

    async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: StreamMessage[Any]) -> Any:
        self._message = msg
        return await call_next(msg)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool:
        if self._is_own:
            try:
                if not self._settled and (exc_val is None or _is_survivable(exc_val)):
                    await self._subscription.reject(self.msg, self._message, exc_val)
            finally:
                del self._subscription.begun[key_of(self.msg)]
        return False


def _is_survivable(error: BaseException) -> bool:
    """Returns True if the error comes from the called code; False if this task or the process is ending."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return isinstance(error, Exception)
