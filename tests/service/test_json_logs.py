"""Lines of JSON: what is in them, and that nothing else gets on standard error."""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

import pytest
import structlog

from rxpipe import Pipeline, Stage
from rxpipe.logs import Logging
from rxpipe.service.json_logs import Origin, all_in_json, are_json, configure_json_logs


@pytest.fixture
def origin() -> Origin:
    made = Origin()
    configure_json_logs(made)
    return made


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was written to standard error; nothing was to standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_line(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    """It begins with when, how grave and what; and says of which run and item it is."""
    origin.pipeline, origin.run = "bank", 3
    structlog.get_logger().warning("item failed", id="ä\n\x1b[31m", stage="grade")
    (line,) = lines(capsys)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    expected = {"event": "item failed", "item": "ä\n\x1b[31m", "stage": "grade", "pipeline": "bank", "run": 3}
    assert line == {"level": "warning", **expected}


def test_of_a_failing_item(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    """What a function logs has its item, too."""

    def work(number: int) -> int:
        structlog.get_logger().info("asking", tokens=number)
        raise ValueError("no")

    origin.pipeline = "bank"
    with all_in_json():
        Pipeline(Stage("work", work), listeners=[Logging()], name="bank").run([7])
    found = {line["event"]: line for line in lines(capsys)}
    assert {"pipeline started", "asking", "item failed"} <= set(found)
    for event in ("asking", "item failed"):
        assert (found[event]["item"], found[event]["stage"], found[event]["pipeline"]) == (7, "work", "bank")


def test_what_others_write_is_json_too(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints, libraries that use logging, and warnings; a traceback is data."""
    with all_in_json():
        print("one\ntw", end="")
        print("o")
        print("no line end", end="")
        logging.getLogger("a.library").warning("retrying %s", "soon")
        try:
            raise ValueError("bad")
        except ValueError:
            logging.getLogger("a.library").exception("it failed")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    print_, two, retrying, failed, old, rest = lines(capsys)
    assert [one["text"] for one in (print_, two, retrying, failed)] == ["one", "two", "retrying soon", "it failed"]
    assert (retrying["level"], retrying["logger"]) == ("warning", "a.library")
    assert failed["exception"][0]["exc_type"] == "ValueError"
    assert "DeprecationWarning: old" in old["text"]
    assert (rest["event"], rest["text"]) == ("printed", "no line end")


def test_values_that_are_no_json(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    """They are texts."""
    structlog.get_logger().info("odd", value={1, 2}.__class__, text="\ud800")
    (line,) = lines(capsys)
    assert (line["value"], line["text"]) == ("<class 'set'>", "\ud800")


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors only."""
    configure_json_logs(Origin(), quiet=True)
    structlog.get_logger().warning("no")
    structlog.get_logger().error("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]
    assert are_json()
    structlog.reset_defaults()
    assert not are_json()
