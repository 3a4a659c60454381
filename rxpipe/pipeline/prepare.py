"""Opens the resources of a run before it starts: executors, and the sink or the store."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace

import reactivex

from rxpipe.identity import Identity
from rxpipe.identity.signature import StageSignature
from rxpipe.operators.core.clock import guarded
from rxpipe.pipeline.commit_counts import CountedWrite
from rxpipe.pipeline.open_executors import OpenExecutors
from rxpipe.pipeline.plan import Plan, bounds_of, gate_of
from rxpipe.pipeline.ports import ManagedExecutor, OwnedSink, RunPorts, TimedWrite, Write
from rxpipe.pipeline.run.quota import Quota
from rxpipe.pipeline.stage import Stage

_CLOSING = 10.0  # seconds that a sink may take to close


def prepare(plan: Plan) -> RunPorts:
    """Open the executors, the sink and the store of a run. May block.

    If a step fails, the resources opened before are closed again.

    Returns:
        The resources for ``start``. The run closes them. If no run starts, leave them as a context manager.

    Raises:
        SinkError: One of them cannot be opened. Also a ``StoreError``, ``StagesChanged`` or ``OtherPipeline``.
        ConfigError: The store cannot be in this database, or an executor cannot be opened.
    """
    with ExitStack() as opened:
        executors = opened.enter_context(OpenExecutors(plan.stages))
        quota = None if plan.until is None else Quota(plan.until, gate_of(plan))
        ports = opened.enter_context(_open_ports(plan, quota))
        return replace(
            ports,
            quota=quota,
            write=executors.closed_with(ports.write),
            target_of=executors.target_of,
            opened=opened.pop_all(),
        )


def opens_nothing(plan: Plan) -> bool:
    """Returns True if ``prepare`` has nothing to open, and so does not block."""
    return plan.sink is None and plan.store is None and not any(map(_is_opened, plan.stages))


def _is_opened(stage: Stage) -> bool:
    return isinstance(stage.executor, ManagedExecutor)


def _open_ports(plan: Plan, quota: Quota | None) -> RunPorts:
    if plan.store is not None:
        window, slots = bounds_of(plan)
        return plan.store.open_run(identity_of(plan), plan.sink, window=window, slots=slots, quota=quota)
    if plan.sink is None:
        return RunPorts()
    write = plan.sink.open_for(identity_of(plan)) if isinstance(plan.sink, OwnedSink) else plan.sink.open()
    opened = ExitStack()
    opened.callback(_close_unused, write)
    return RunPorts(
        write=write,
        aborted=write.aborted if isinstance(write, TimedWrite) else lambda: None,
        counts=write.counts if isinstance(write, CountedWrite) else None,
        opened=opened,
    )


def identity_of(plan: Plan) -> Identity:
    """Returns the identity that finds the plan's run and its checkpoints. Reads the code of the functions."""
    return Identity(plan.name, tuple(map(_signature_of, plan.stages)))


def _signature_of(stage: Stage) -> StageSignature:
    shape = " and ".join(name for name in ("collect", "expand") if getattr(stage, name))
    return StageSignature.of(stage.name, stage.call, stage.version, shape)


def _close_unused(write: Write) -> None:
    """Close a sink by giving it an empty sequence, on a thread of its own: an event loop may be running on this one."""
    over = threading.Event()

    def close() -> None:
        try:
            write(reactivex.empty()).subscribe(on_error=lambda error: over.set(), on_completed=over.set)
        except BaseException:
            over.set()
            raise

    threading.Thread(target=guarded, args=(close,), name="rxpipe-closing", daemon=True).start()
    over.wait(_CLOSING)
