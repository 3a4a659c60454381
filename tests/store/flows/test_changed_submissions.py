"""Records that are submitted again with another value."""

from __future__ import annotations

from typing import Any

import pytest

from rxpipe.errors import RecordChanged

from .runs import Runs, stage


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_the_submission_is_refused_and_the_pipeline_goes_on(runs: Runs, scheduler: Any) -> None:
    """An ID that comes again with the same value has the outcome that it had."""
    pipeline = runs.pipeline(stage("work", str), store={"on_change": "fail"}, scheduler=scheduler)
    with pipeline.open() as running:
        assert running.submit("a", 1).result(10).value == "1"
        with pytest.raises(RecordChanged, match="the record 'a' has another value than before"):
            running.submit("a", 2).result(10)
        others = [running.submit("a", 1), running.submit("b", 2)]
        assert [one.result(10).value for one in others] == ["1", "2"]
        assert running.health().unfinished == 0
    assert runs.written() == {"a": "1", "b": "2"}


def test_many_at_once(runs: Runs) -> None:
    """Those that are as they were are not disturbed."""
    pipeline = runs.pipeline(stage("work", str), store={"on_change": "fail"})
    with pipeline.open() as running:
        for one in [running.submit(number, number) for number in range(20)]:
            one.result(10)
    pipeline = runs.pipeline(stage("work", str), store={"on_change": "fail"})
    with pipeline.open() as running:
        ends = [running.submit(number, number + number % 2) for number in range(30)]
        for number, one in enumerate(ends):
            if number % 2 and number < 20:
                with pytest.raises(RecordChanged):
                    one.result(10)
            else:
                assert one.result(10).status == "written"
