"""``Logging``: logs the events of pipelines with structlog, for those who operate a service."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, get_contextvars, reset_contextvars

from rxpipe.log_values import one_line, shown
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.stage import Stage
from rxpipe.pipeline.views import ItemView, RunView
from rxpipe.pipeline.wrap_call import Undo, inside

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Logging(Listener):
    """Logs the ends of items and pipelines. Events are constant phrases, listed in docs/observability.md.

    ::

        pipeline = Pipeline(Stage("answering", answer), listeners=[Logging()])

    Lines that a function logs during a call have more fields:

    - the item's ``id`` and ``stage``, and the ``parent`` of a child
    - the values that the submitter had bound with ``structlog.contextvars``, such as a ``request_id``

    For that, structlog's processors must include ``merge_contextvars``, as the default ones do.

    Several pipelines can share one ``Logging``. It never configures structlog.
    """

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns the stage's function, with the item's fields bound during each call."""

        def bind(item: ItemView) -> Undo:
            of_submitter = {} if item.context is None else item.context.copy().run(get_contextvars)
            tokens = bind_contextvars(**{**of_submitter, **_names(item), "stage": stage.name})
            return lambda: reset_contextvars(**tokens)

        return inside(stage, call, bind)

    def run_started(self, run: RunView) -> None:
        """Log the start of the run now, and its end later."""
        _log.info("pipeline started", stages=[stage.name for stage in run.stages], **_number(run))
        context = contextvars.copy_context()
        run.finished.add_done_callback(lambda _: context.run(_log_end, run))

    def draining(self, run: RunView) -> None:
        """Log that the pipeline takes no more IDs."""
        _log.info("pipeline draining", on_their_way=run.in_flight, **_number(run))

    def stalled(self, run: RunView, reason: str) -> None:
        """Log that the pipeline makes no more progress."""
        _log.warning("pipeline stalled", reason=reason, **_number(run))

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """Log a failed call if another attempt follows."""
        if again and error is not None:
            _say(item, _log.debug, "call retried", stage=stage, error=one_line(error))

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
        """Log the end of an item that failed, was dropped or was cancelled."""
        more = {"stage": outcome.stage, "calls": outcome.attempts, "seconds": round(outcome.seconds, 3)}
        if outcome.status == "failed" and outcome.error is not None:
            _say(item, _log.warning, "item failed", **more, error=one_line(outcome.error))
        elif outcome.status == "dropped" and outcome.error is not None:
            _say(item, _log.debug, "item dropped", **more, reason=shown(str(outcome.error)))
        elif outcome.status == "cancelled":
            _say(item, _log.debug, "item cancelled", **more)


def _say(item: ItemView, log: Callable[..., Any], event: str, **more: Any) -> None:
    """Log an event in the submitter's context: with the values bound there, and in the trace that continues there."""
    # A copy, since only one thread at a time can enter a context.
    context = contextvars.Context() if item.context is None else item.context.copy()
    with suppress(Exception):  # a line that cannot be written must not fail the item
        context.run(log, event, **_names(item), **more)


def _names(item: ItemView) -> dict[str, Any]:
    return {"id": shown(item.id)} | ({} if item.parent is None else {"parent": shown(item.parent.id)})


def _log_end(run: RunView) -> None:
    counts = {"taken": run.taken, "written": run.written, "failed": run.failed, "cancelled": run.cancelled}
    rare = {name: getattr(run, name) for name in ("spawned", "dropped", "expanded", "collected")}
    counts |= {name: count for name, count in rare.items() if count}
    more: dict[str, Any] = {**counts, "seconds": round(run.seconds, 3), **_number(run)}
    error = None if run.finished.cancelled() else run.finished.exception()
    if error is None:
        if not run.finished.cancelled() and (commonest := run.finished.result().errors[:1]):
            more["commonest_error"] = shown(f"{commonest[0].stage}: {commonest[0].text}")
            more["commonest_error_items"] = commonest[0].count
        _log.info("pipeline ended", **more)
    else:
        _log.error("pipeline failed", **more, error=one_line(error))


def _number(run: RunView) -> dict[str, int]:
    return {} if run.number is None else {"run": run.number}
