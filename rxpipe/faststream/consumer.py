"""``PipelineConsumer``: takes messages of brokers into an open pipeline, and tells the brokers what became of them."""

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
_RATE = 1000  # rows a second that messages in flight suffice for
_PAUSE = 1.0  # seconds before a message is given back that would come again at once
_AT_ONCE = 16  # acknowledgements; Redis' client takes a connection for each, and has 100 at most


class PipelineConsumer:
    """Takes items out of messages into a pipeline that is open as long as the app runs.

    Attributes:
        prefetch: Messages that each subscription has in hand at most: as many as the stages hold, and as wait for
            their rows' commit, for which 50 ms at 1,000 rows a second are counted.
    """

    def __init__(self, pipeline: Pipeline, *, grace: float | None = 25.0, prefetch: int | None = None) -> None:
        """Nothing is opened yet.

        Args:
            pipeline: Where the items go. With a store, a message that comes again costs no second call.
            grace: Seconds that messages in hand have to finish when the app stops; then they are given back to the
                broker. None: as long as it takes.
            prefetch: Messages that each subscription has in hand at most.

        Raises:
            ValueError: ``prefetch`` is below 1, or must be given, as a stage's queue has no bound; ``grace`` is below
                0; or the pipeline is ``staged``, which lets nothing out to the end.
        """
        pipeline.open(grace=grace)  # refuses what could not be opened when the app starts
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
        id: IdOf | None = None,
        **options: Any,
    ) -> None:
        """Take items from a subject, a stream, a queue or a topic.

        ::

            questions.subscribe(broker, "questions", stream="bank", durable="bank")  # a body is an ID
            questions.subscribe(broker, "questions", stream="bank", durable="bank", id="number")  # a value with an ID

        Bounds and acknowledgement are set; anything else is as ``broker.subscriber`` has it.

        Without ``id`` a body is an ID: an int or a str, as JSON or as plain text. With ``id`` a body is a JSON object,
        and the first stage gets all of it. A ``decoder`` may make either of anything else.

        Args:
            broker: A broker or a router of FastStream, for NATS, Redis, RabbitMQ, MQTT or Kafka.
            args: For ``broker.subscriber``.
            outcomes: A publisher that is told how the item of every message ended, before the message is acknowledged:
                ``id``, ``parent``, ``status``, ``value``, ``error``, ``stage``, ``attempts``, ``seconds``. It is told
                of no children.
            dead_letters: The same, of failed items, and of failed children of an item that was expanded; and of
                messages that are no ID, with ``body`` and ``message_id``.
            lease: NATS and Redis: seconds after which messages of a consumer that gives no sign of life are others'.
            id: The body's field that is the ID, or a quick function of the decoded body. ``content_id`` makes an ID of
                the content. A body without an ID is rejected.
            options: For ``broker.subscriber``.

        Raises:
            TypeError: It is no such broker, or a Redis subscription that is not a stream's with a group; what is to
                publish cannot, or is a Redis channel for dead letters; or ``ack_policy`` or ``no_reply`` is given; or
                ``id`` is neither a field's name nor a plain function.
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
        """Keep the pipeline open; for ``FastStream(broker, lifespan=...)``, or ``async with`` around the broker.

        When the app stops, no more messages are taken, and those in hand are finished and acknowledged before the
        broker is left.

        Raises:
            Exception: What the pipeline has failed with: then the app ends, and its messages are others'.
        """
        self.stopping, self._failure, self._is_over, self._app = asyncio.Event(), None, False, app
        self.telling, self.restarting, self.down = asyncio.Semaphore(_AT_ONCE), asyncio.Lock(), {}
        self._running = await self._stack.enter_async_context(self._pipeline.open(grace=self._grace))
        if app is not None:
            app.on_shutdown(self.drain)  # which comes before the broker is left
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
        """Take no more messages, and wait until those in hand are finished; the app's lifespan does it."""
        await _cancel(self._watches)  # which might start what is left now
        for subscription in self._subscriptions:
            await subscription.leave()
        self.stopping.set()
        try:
            await self._stack.aclose()
        except Exception as error:  # noqa: BLE001  # the broker is to be left in any case: lifespan raises it
            self._failure = error

    def _trouble(self) -> str:
        return "; ".join(f"no messages arrive: {each.trouble}" for each in self._subscriptions if each.trouble)

    async def pause(self) -> None:
        """Wait a moment, or until the app stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE):
                await self.stopping.wait()

    async def end(self, why: PipelineClosed) -> None:
        """Have the app end, and wait for it: a message given back before that would come again at once."""
        self._fail(why.__cause__ or why)
        await self.stopping.wait()

    def _fail(self, error: BaseException) -> None:
        """Have the app end, unless it does already: the pipeline takes no more, so nothing can be done here."""
        if self.stopping.is_set() or self._is_over:
            return
        self._is_over = True
        say(_log.critical, "pipeline has failed, the app ends", error=error)
        if self._app is not None:
            self._app.exit()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a broker's client may swallow a cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_PAUSE)
    await asyncio.gather(*tasks, return_exceptions=True)  # else asyncio logs that nobody asked how they ended
