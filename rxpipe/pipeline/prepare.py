"""What a run needs beside its stages, opened before it starts: executors, and the sink or the store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import reactivex

from rxpipe.identity import Identity
from rxpipe.identity.signature import StageSignature
from rxpipe.operators.core.clock import guarded
from rxpipe.pipeline.executors import OpenExecutors
from rxpipe.pipeline.ports import OwnedSink, RunPorts, Sink, Store, TimedWrite, Write
from rxpipe.pipeline.stage import Stage

_CLOSING = 10.0  # seconds that a sink may take to close


def prepare(
    name: str, stages: Sequence[Stage], sink: Sink | None, store: Store | None, *, window: float, slots: float
) -> RunPorts:
    """Open what a run needs; what was opened is closed again if a later step fails.

    Args:
        name: The pipeline's.
        stages: Of the pipeline, for their executors and for what their checkpoints depend on.
        sink: Where outcomes go.
        store: Keeps what the stages return.
        window: How many items the stages hold.
        slots: How many calls may run at once.
    """
    with ExitStack() as opened:
        executors = opened.enter_context(OpenExecutors(stages))
        pipeline = Identity(name, tuple(StageSignature.of(stage.name, stage.call, stage.version) for stage in stages))
        if store is not None:
            ports = store.open_run(pipeline, sink, window=window, slots=slots)
        else:
            ports = RunPorts() if sink is None else _open_sink(pipeline, sink)
        opened.push(ports)
        return replace(ports, write=executors.closed_with(ports.write), place=executors.place, opened=opened.pop_all())


def _open_sink(pipeline: Identity, sink: Sink) -> RunPorts:
    write = sink.open_for(pipeline) if isinstance(sink, OwnedSink) else sink.open()
    opened = ExitStack()
    opened.callback(_close_unused, write)
    return RunPorts(write=write, hurry=write.aborted if isinstance(write, TimedWrite) else lambda: None, opened=opened)


def _close_unused(write: Write) -> None:
    """Close a sink by a sequence of nothing; on a thread of its own, as an event loop may be running on this one."""
    over = threading.Event()

    def close() -> None:
        try:
            write(reactivex.empty()).subscribe(on_error=lambda error: over.set(), on_completed=over.set)
        except BaseException:
            over.set()
            raise

    threading.Thread(target=guarded, args=(close,), name="rxpipe-closing", daemon=True).start()
    over.wait(_CLOSING)
