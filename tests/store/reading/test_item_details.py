"""All that is kept of an item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from llm_pipelines import ask
from odd_llm import completion, in_turn, odd_server, provider_at
from sqlalchemy import select, update

from rxpipe import DatabaseSink, Drop, Pipeline, Record, Retry, RunStore, Stage, Usage, record_usage
from rxpipe.insight.reading import Exchange, ItemDetails, ItemFilter
from rxpipe.llm import Provider
from rxpipe.store.maintenance.prune import prune
from rxpipe.store.queries.existing_store import opened
from rxpipe.store.schema.tables import CALLS, CHECKPOINTS, EXCHANGES, ITEMS
from store.stores import connected

SOON = Retry(max_attempts=2, initial=0.001, max_delay=0.001)


def details(url: str, item: str, run: int = 1) -> ItemDetails:
    """What there is of an item."""
    with RunStore(url).reader() as reader:
        found = reader.item(run, item)
    assert found is not None
    return found


@dataclass
class Score:
    """What is kept as a pickle, with JSON beside it."""

    points: int


def first(value: dict[str, Any]) -> dict[str, Any]:
    record_usage(Usage(prompt_tokens=3, cost=0.5))
    if value["n"] == 2:
        raise ValueError("no 2")
    return {**value, "first": True}


def second(value: dict[str, Any]) -> Any:
    if value["n"] == 3:
        raise Drop("odd")
    return Score(7) if value["n"] == 4 else value["n"]


def both(number: int) -> list[int]:
    return [number, number + 1]


def ten_times(number: int) -> list[int]:
    return both(10 * number)


def run(url: str, **options: Any) -> None:
    stages = Stage("first", first, retry=SOON), Stage("second", second)
    records = [Record(f"id {n}", {"n": n}) for n in range(1, 5)]
    Pipeline(*stages, sink=DatabaseSink(url, table="rows"), store=RunStore(**options), name="x").run(records)


def test_of_an_item_that_is_written(store_url: str) -> None:
    """Its value, what each stage returned, and its calls."""
    run(store_url)
    found = details(store_url, "id 1")
    assert (found.row.id, found.row.status, found.row.stage, found.row.attempts) == ("id 1", "written", None, 2)
    assert found.row.began_at is not None
    assert found.row.ended_at is not None
    assert found.row.ended_at >= found.row.began_at
    assert found.value == {"n": 1}
    assert found.outputs == (("first", {"n": 1, "first": True}), ("second", 1))
    assert [(call.stage, call.attempt, call.ended) for call in found.calls] == [("first", 1, "ok"), ("second", 1, "ok")]
    assert found.calls[0].usage == Usage(prompt_tokens=3, cost=0.5)
    assert found.calls[0].seconds is not None
    assert found.calls[0].in_flight is not None


def test_of_items_that_are_not(store_url: str) -> None:
    """Each call has its own error."""
    run(store_url)
    found = details(store_url, "id 2")
    told = [(call.attempt, call.ended, call.error) for call in found.calls]
    assert told == [(1, "retried", "ValueError: no 2"), (2, "failed", "ValueError: no 2")]
    assert all("Traceback" in (call.traceback or "") for call in found.calls)
    assert (found.row.stage, found.row.error) == ("first", "ValueError: no 2")
    assert [call.ended for call in details(store_url, "id 3").calls] == ["ok", "dropped"]


def test_what_is_pickled_stays_so(store_url: str) -> None:
    """What is shown is the JSON beside it."""
    run(store_url)
    with connected(store_url) as connection:
        spoilt = update(CHECKPOINTS).where(CHECKPOINTS.c.pickled.is_not(None)).values(pickled="x")
        assert connection.execute(spoilt).rowcount
        connection.commit()
    assert details(store_url, "id 4").outputs[1] == ("second", {"points": 7})


def test_of_a_store_that_kept_no_calls_yet(store_url: str) -> None:
    """What checkpoints and failures tell."""
    run(store_url)
    with connected(store_url) as connection:
        connection.execute(CALLS.delete())
        connection.execute(update(ITEMS).values(taken_at=None, seconds=None))
        connection.commit()
    assert [call.stage for call in details(store_url, "id 1").calls] == ["first", "second"]
    found = details(store_url, "id 2")
    assert [(call.attempt, call.ended, call.seconds) for call in found.calls] == [
        (1, "retried", None),
        (2, "failed", None),
    ]
    assert found.calls[0].usage.cost == 0.5


def test_of_a_call_whose_commit_had_two_parts(store_url: str) -> None:
    """It is found by the time in which the item was on its way."""
    run(store_url)
    with connected(store_url) as connection:
        connection.execute(update(CALLS).values(at=CALLS.c.at - 1e-4))
        connection.commit()
    assert [call.ended for call in details(store_url, "id 1").calls] == ["ok", "ok"]


def test_of_a_family(store_url: str) -> None:
    """Parents, the nearest first, and how many children there are of each status."""
    Pipeline(
        Stage("split", both, expand=True),
        Stage("again", ten_times, expand=True),
        sink=DatabaseSink(store_url, table="rows"),
        store=RunStore(),
    ).run([1])
    assert details(store_url, "1").children == {"expanded": 2}
    found = details(store_url, "1/0/1")
    assert found.parents == ("1/0", 1)
    assert found.value == 11
    with RunStore(store_url).reader() as reader:
        page = reader.items(1, ItemFilter(parent="1"))
    assert [(row.id, row.parent, row.children) for row in page.items] == [("1/1", 1, 2), ("1/0", 1, 2)]


def test_cached_results_are_told(store_url: str) -> None:
    """As calls that were not made."""
    for name in ("one", "two"):
        Pipeline(
            Stage("cached", first, cache=True),
            sink=DatabaseSink(store_url, table=name),
            store=RunStore(),
            name=name,
        ).run([Record("a", {"n": 1})])
    assert [(call.cached, call.usage.cost) for call in details(store_url, "a", 2).calls] == [(True, 0.5)]


def asked(url: str, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a model twice for one item: it fails first."""
    monkeypatch.setenv("ODD_KEY", "sk-very-secret")
    reply: Any = (200, completion('{"answer": "7 sk-very-secret"}'), {})
    with odd_server(in_turn([(500, {"error": {"message": "sk-very-secret broke"}}, {}), reply])) as server:
        provider = provider_at(server.url, api_key_env="ODD_KEY")

        async def call(number: int) -> str:
            return await ask(number, provider=provider)

        stage = Stage("asking", call, retry=SOON)
        Pipeline(stage, sink=DatabaseSink(url, table="rows"), store=store, name="x").run([1])
        assert isinstance(provider, Provider)


def test_prompts_and_replies(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each call, without the key; they go with the run."""
    asked(store_url, RunStore(), monkeypatch)
    failed, answered = details(store_url, "1").calls
    assert (failed.ended, answered.ended) == ("retried", "ok")
    (one,) = failed.exchanges
    assert one.reply is None
    (other,) = answered.exchanges
    assert isinstance(other, Exchange)
    assert "How much is 1 + 1?" in other.messages[0]["content"]
    assert other.messages[0]["role"] == "user"
    assert other.reply == '{"answer": "7 ***"}'
    assert other.model
    with connected(store_url) as connection:
        kept = str(connection.execute(select(EXCHANGES)).all())
    assert "very-secret" not in kept
    with opened(store_url) as engine:
        prune(engine, 1)
    with connected(store_url) as connection:
        assert connection.execute(select(EXCHANGES)).all() == []


def test_prompts_need_not_be_kept(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor replies."""
    asked(store_url, RunStore(keep_prompts=False), monkeypatch)
    with connected(store_url) as connection:
        assert connection.execute(select(EXCHANGES)).all() == []
    assert [call.exchanges for call in details(store_url, "1").calls] == [(), ()]
