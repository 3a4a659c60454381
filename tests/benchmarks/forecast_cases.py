"""Which runs are forecast: servers, a base run against each, and changes of that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.llm import Limits, Prices, Provider
from rxpipe.questions.llm import answer, generate, grade

Kind = Literal["same calls", "more items", "other chance"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a run is set up.

    Attributes:
        count: Items.
        slots: Concurrency of generation, answering and grading.
        strategy: Of the pipeline.
        at_once: Items at once, with ``per_item``.
        timeout: Seconds of a call.
        max_attempts: Of the retry policy.
        requests_per_minute: The client's limit.
        tokens_per_minute: The client's limit.
        seed: The server's: another one is another server of the same kind, whose calls take other times.
    """

    count: int
    slots: tuple[int, int, int]
    strategy: Literal["per_stage", "per_item", "staged"] = "per_stage"
    at_once: int = 3
    timeout: float = 3.0
    max_attempts: int = 4
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class World:
    """A server, and the run of which everything about it is known.

    Attributes:
        title: What kind of server.
        server: Options of ``rxpipe fake-llm``.
        base: The run that is recorded.
        seeds: The seeds of all servers against which that run is made. A single one may happen to be quick or slow, and
            all forecasts of new calls with it.
        changes: What is forecast from it: fields of the base that are different.
    """

    title: str
    server: Sequence[str]
    base: Setup
    seeds: Sequence[int] = (0,)
    changes: Sequence[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run to forecast.

    Attributes:
        world: The key of its world.
        setup: How it is set up.
        title: What differs from the base run.
        base_seed: The seed of the base run that it is forecast from.
    """

    world: str
    setup: Setup
    title: str
    base_seed: int = 0

    @property
    def real(self) -> str:
        """Which real run it is."""
        return f"{self.world}: {self.title}"

    @property
    def base(self) -> str:
        """The base run that it is forecast from."""
        return base_name(self.world, self.base_seed)

    @property
    def kind(self) -> Kind:
        """Whether the base run had the same calls, so that chance plays no part."""
        if self.setup.seed != self.base_seed:
            return "other chance"
        return "more items" if self.setup.count > WORLDS[self.world].base.count else "same calls"


def base_name(world: str, seed: int) -> str:
    """What a base run, and the file with its record, is called."""
    return f"{world}-{seed}" if seed else world


def _all(base: tuple[int, int, int], times: float) -> tuple[int, int, int]:
    first, second, third = (max(1, round(slots * times)) for slots in base)
    return first, second, third


_FAULTS = "--fail", "0.03", "--invalid", "0.03"
_TAILS, _LOAD, _REFUSED, _TOKENS = (8, 10, 7), (6, 8, 4), (5, 5, 4), (6, 6, 6)

WORLDS = {
    "tails": World(
        title="heavy tails, 4% of 500s, 4% of invalid replies, 0.4% of calls hang",
        server=["--latency", "lognormal(median=0.3,p95=1)", "--fail", "0.04", "--invalid", "0.04", "--hang", "0.004"],
        base=Setup(count=750, slots=_TAILS),
        seeds=(0, 10, 11, 12),
        changes=[
            {"slots": (8, 10, 4), "count": 400},
            {"slots": (4, 10, 7), "count": 500},
            {"slots": (8, 5, 7)},
            {"slots": (8, 10, 14)},
            {"slots": _all(_TAILS, 2)},
            {"slots": _all(_TAILS, 4)},
            {"slots": _all(_TAILS, 2), "count": 1750},
            {"slots": _all(_TAILS, 4), "count": 3750},
            {"strategy": "per_item", "at_once": 20},
            {"strategy": "per_item", "at_once": 50},
            {"strategy": "staged", "count": 400},
            {"timeout": 0.8},
            {"timeout": 1.2, "max_attempts": 2},
            {"max_attempts": 1},
            {"requests_per_minute": 2700},
            {"requests_per_minute": 1800, "count": 400},
            {"seed": 1},
            {"seed": 2, "slots": _all(_TAILS, 2), "count": 1750},
            {"seed": 3, "slots": _all(_TAILS, 4), "count": 3750},
            {"seed": 4, "strategy": "per_item", "at_once": 20},
            {"seed": 5, "timeout": 1.0},
        ],
    ),
    "load": World(
        title="12 calls at full speed, more slow each other down; 3% of 500s, 3% of invalid replies",
        server=[
            "--latency",
            "lognormal(median=0.12,p95=0.35)",
            "--load-slots",
            "12",
            "--fail",
            "0.03",
            "--invalid",
            "0.03",
        ],
        base=Setup(count=1000, slots=_LOAD),
        seeds=(0, 10, 11),
        changes=[
            {"slots": _all(_LOAD, 0.5), "count": 600},
            {"slots": (3, 8, 4)},
            {"slots": (6, 8, 8)},
            {"slots": (12, 8, 4)},
            {"slots": _all(_LOAD, 2)},
            {"slots": _all(_LOAD, 4)},
            {"slots": _all(_LOAD, 2), "count": 1750},
            {"strategy": "per_item", "at_once": 9},
            {"strategy": "per_item", "at_once": 18},
            {"strategy": "per_item", "at_once": 40},
            {"strategy": "staged", "count": 600},
            {"timeout": 0.9, "slots": _all(_LOAD, 2)},
            {"requests_per_minute": 3000, "slots": _all(_LOAD, 2), "count": 600},
            {"max_attempts": 1, "slots": (6, 8, 8)},
            {"seed": 1},
            {"seed": 2, "slots": _all(_LOAD, 2)},
            {"seed": 3, "slots": _all(_LOAD, 0.5), "count": 600},
        ],
    ),
    "refused": World(
        title="429s beyond 45 requests a second, 3% of 500s, 3% of invalid replies",
        server=[
            "--latency",
            "lognormal(median=0.2,p95=0.6)",
            "--rate-limit",
            "45/s",
            "--fail",
            "0.03",
            "--invalid",
            "0.03",
        ],
        base=Setup(count=600, slots=_REFUSED),
        changes=[
            {"slots": (2, 2, 2), "count": 400},
            {"slots": (5, 5, 2), "count": 400},
            {"slots": (5, 5, 8)},
            {"slots": _all(_REFUSED, 2)},
            {"slots": _all(_REFUSED, 4)},
            {"strategy": "per_item", "at_once": 8},
            {"strategy": "per_item", "at_once": 20},
            {"requests_per_minute": 2100},
            {"requests_per_minute": 1500, "count": 400},
            {"timeout": 0.6},
            {"seed": 1},
            {"seed": 2, "slots": _all(_REFUSED, 2)},
        ],
    ),
    "tokens": World(
        title="the client keeps to 480,000 tokens a minute; 3% of 500s, 3% of invalid replies",
        server=["--latency", "lognormal(median=0.2,p95=0.6)", *_FAULTS],
        base=Setup(count=400, slots=_TOKENS, tokens_per_minute=480_000),
        seeds=(0, 10),
        changes=[
            {"tokens_per_minute": 240_000, "count": 200},
            {"tokens_per_minute": 960_000, "count": 750},
            {"tokens_per_minute": None},
            {"tokens_per_minute": None, "slots": _all(_TOKENS, 2.5), "count": 3750},
            {"slots": _all(_TOKENS, 0.5)},
            {"slots": _all(_TOKENS, 4)},
            {"strategy": "per_item", "at_once": 12},
            {"strategy": "staged"},
            {"requests_per_minute": 1500},
            {"tokens_per_minute": None, "requests_per_minute": 3600, "slots": _all(_TOKENS, 4), "count": 750},
            {"seed": 1},
            {"seed": 2, "tokens_per_minute": None, "slots": _all(_TOKENS, 2), "count": 1500},
        ],
    ),
}


def cases() -> list[Case]:
    """All that are forecast: runs of the same calls from one base run, others from each."""
    found: list[Case] = []
    for key, world in WORLDS.items():
        for change in world.changes:
            setup = replace(world.base, **change)
            title = ", ".join(f"{name} {_shown(value)}" for name, value in change.items())
            case = Case(world=key, setup=setup, title=title)
            found.append(case)
            if case.kind != "same calls":
                found += [replace(case, base_seed=seed) for seed in world.seeds if seed != case.base_seed]
    return found


def _shown(value: Any) -> str:
    if type(value) is tuple:
        return "+".join(map(str, cast("tuple[int, ...]", value)))
    return f"{value:,}" if type(value) is int else str(value)


def pipeline_of(setup: Setup, url: str, database: str | None = None) -> Pipeline[Any, Any]:
    """The question bank, set up like this.

    Args:
        setup: How.
        url: The server's.
        database: Where rows and the calls of a run are kept; None for nowhere.
    """
    limits = Limits(requests_per_minute=setup.requests_per_minute, tokens_per_minute=setup.tokens_per_minute)
    prices = Prices(prompt=0.15, completion=0.60)
    provider = Provider(model="fake-model", base_url=url, limits=limits, prices=prices)
    calls: dict[str, Any] = {"generation": partial(generate, topic="fractions"), "answering": answer, "grading": grade}
    return Pipeline(
        *(
            Stage(
                name,
                partial(call, provider=provider),
                concurrency=slots,
                timeout=setup.timeout,
                retry=Retry(max_attempts=setup.max_attempts, initial=0.2),
                rate_limit=provider.limits,
            )
            for (name, call), slots in zip(calls.items(), setup.slots, strict=True)
        ),
        sink=DatabaseSink(database) if database else None,
        store=RunStore() if database and setup.strategy != "staged" else None,
        strategy=setup.strategy,
        scheduler="asyncio",
        concurrency=setup.at_once,
        name="forecast",
    )
