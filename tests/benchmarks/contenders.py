"""Who is measured in which table, and the ratios rxpipe is to reach."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .workload import Job, Sink


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way of running the stages.

    Args:
        key: Its name on the command line.
        title: Its name in the tables.
        runs: ``module:function`` of this package; imported only in the process that is measured.
        share: The part of the items it is given, for those that would take the whole time of a run.
        ours: The key of the rxpipe contender it is compared with; of rxpipe's own, nothing.
        one_at_a_time: Whether it keeps only one stage's worth of calls running, as its strategy has it.
        limit: The largest ratio of rxpipe's time to its own that is good enough, if one is set.
    """

    key: str
    title: str
    runs: str
    share: float = 1.0
    ours: str = ""
    one_at_a_time: bool = False
    limit: float | None = None

    def load(self) -> Callable[[Job, Sink], None]:
        """Import what runs it.

        Raises:
            ImportError: it, or the library it measures, is not there.
        """
        module, _, function = self.runs.partition(":")
        run: Callable[[Job, Sink], None] = getattr(import_module(f".{module}", __package__), function)
        return run


ASYNCIO = "rxpipe-asyncio"
THREADS = "rxpipe-threads"

CONTENDERS = {
    one.key: one
    for one in [
        Contender(key=ASYNCIO, title="**rxpipe**, chain of `ops.stage`, asyncio", runs="ours:chain_asyncio"),
        Contender(
            key="asyncio",
            title="hand-written asyncio: queues, workers, `asyncio.timeout`, retry loop",
            runs="handwritten:run_asyncio",
            ours=ASYNCIO,
            limit=0.6,
        ),
        Contender(
            key="aiostream",
            title="aiostream `pipe.map(task_limit=10)`, limit and attempts in the coroutine",
            runs="libraries:run_aiostream",
            share=0.5,
            ours=ASYNCIO,
            limit=1 / 9,
        ),
        Contender(
            key="pypeln-tasks",
            title="pypeln `task.map`, limit and attempts in the coroutine",
            runs="libraries:run_pypeln_tasks",
            share=0.5,
            ours=ASYNCIO,
        ),
        Contender(
            key="reactivex-asyncio",
            title="reactivex `map` + `merge` on asyncio, limit and attempts in the coroutine",
            runs="reactivex_rivals:run_asyncio",
            share=0.5,
            ours=ASYNCIO,
            limit=1 / 10,
        ),
        Contender(
            key="reactivex-asyncio-operators",
            title="reactivex on asyncio, with its own `timeout` and `retry`",
            runs="reactivex_rivals:run_asyncio_operators",
            share=0.1,
            ours=ASYNCIO,
        ),
        Contender(key=THREADS, title="**rxpipe**, chain of `ops.stage`, threads", runs="ours:chain_threads"),
        Contender(
            key="threads",
            title="hand-written threads: queues, workers, retry loop (no time limit)",
            runs="handwritten:run_threads",
            ours=THREADS,
            limit=0.5,
        ),
        Contender(
            key="pypeln-threads",
            title="pypeln `thread.map(timeout=60)`, attempts in the function",
            runs="libraries:run_pypeln_threads",
            share=0.5,
            ours=THREADS,
            limit=1 / 4,
        ),
        Contender(
            key="reactivex-pools",
            title="reactivex `map` + `merge` on pools, attempts in the function (no time limit)",
            runs="reactivex_rivals:run_pools",
            share=0.5,
            ours=THREADS,
        ),
        Contender(
            key="reactivex-pools-retry",
            title="reactivex on pools, with its own `retry` (no time limit)",
            runs="reactivex_rivals:run_pools_retry",
            share=0.2,
            ours=THREADS,
            limit=1 / 10,
        ),
        Contender(
            key="reactivex-pools-operators",
            title="reactivex on pools, with its own `timeout` and `retry`",
            runs="reactivex_rivals:run_pools_operators",
            share=0.05,
            ours=THREADS,
        ),
        *[
            Contender(
                key=f"pipeline-{strategy.replace('_', '-')}-{scheduler}",
                title=f"**rxpipe** `Pipeline` without a sink, `{strategy}`, {scheduler}",
                runs=f"pipelines:{strategy}_{scheduler}",
                one_at_a_time=strategy != "per_stage",
            )
            for strategy in ("per_stage", "per_item", "staged")
            for scheduler in ("asyncio", "threads")
        ],
    ]
}

PIPELINES = tuple(key for key in CONTENDERS if key.startswith("pipeline-"))
PER_STAGE = tuple(key for key in PIPELINES if not CONTENDERS[key].one_at_a_time)

OVERHEAD = tuple(key for key in CONTENDERS if key not in PIPELINES or key in PER_STAGE)
LATENCY = (ASYNCIO, "asyncio", THREADS, "threads", *PIPELINES)
START = (ASYNCIO, "asyncio", "aiostream", "pypeln-tasks", THREADS, "threads", "pypeln-threads", *PER_STAGE)
MEMORY = (ASYNCIO, THREADS, "asyncio", PER_STAGE[0])
