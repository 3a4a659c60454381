"""A run that goes on with functions that were edited since."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import create_engine, update
from structlog.testing import capture_logs

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.identity.signature import from_text
from rxpipe.store.schema.tables import RUNS

from .bank import rows

EVENT = re.compile(
    r"the code of stages? (.*) has changed\. After a mend that is fine: .* To have those made again, give "
)


def function(name: str, text: str) -> Any:
    """A function of this module, whose code is the text."""
    scope: dict[str, Any] = {"__name__": __name__}
    exec(f"def {name}(value):\n    return {text}", scope)
    return scope[name]


def run(url: str, generate: str, grade: str, ids: range, *, version: int | None = None, **store: Any) -> list[Any]:
    """Run with such stages; the stages that were told to have changed, or the empty list."""
    stages = (
        Stage("generation", function("generate", generate)),
        Stage("grading", function("grade", grade), version=version),
    )
    with capture_logs() as logs:
        Pipeline(*stages, sink=DatabaseSink(url), store=RunStore(**store)).run(ids)
    return [told[1] for log in logs if (told := EVENT.match(log["event"]))]


def test_an_edited_function_is_told(store_url: str) -> None:
    """Each time, also where nothing is left to do; what is kept applies all the same."""
    assert run(store_url, "value", "value", range(3)) == []
    assert run(store_url, "value", "(value)", range(3)) == []
    for ids in (range(3), range(5), range(5)):
        assert run(store_url, "value", "[value, 1]", ids) == ["grading"]
    assert run(store_url, "value + 1", "[value, 1]", range(5)) == ["generation and grading"]


@pytest.mark.parametrize("options", [{"fresh": True}, {"version": 2, "resume": True}])
def test_what_is_made_again_is_not_told_any_more(store_url: str, options: dict[str, Any]) -> None:
    """It was made by the code of today; what was not made again still is told."""
    run(store_url, "value", "value", range(3))
    version = options.get("version")
    assert run(store_url, "value", "[value, 1]", range(3), **options) == []
    assert run(store_url, "value", "[value, 1]", range(3), version=version) == []
    assert run(store_url, "value + 1", "[value, 1]", range(3), version=version) == ["generation"]


def test_a_run_of_an_older_store_takes_the_code_of_today(store_url: str) -> None:
    """It did not keep any: what is edited from then on is told."""
    run(store_url, "value", "value", range(3))
    engine = create_engine(store_url)
    stages = [{"name": "generation", "call": f"{__name__}:generate", "version": None}]
    with engine.begin() as connection:
        before = from_text(rows(store_url, RUNS)[0].stages)
        text = str([{**stages[0], "name": one.name, "call": one.call} for one in before])
        connection.execute(update(RUNS).values(stages=text.replace("'", '"').replace("None", "null")))
    engine.dispose()
    assert run(store_url, "value", "[value, 1]", range(4)) == []
    assert run(store_url, "value", "value", range(4)) == ["grading"]
