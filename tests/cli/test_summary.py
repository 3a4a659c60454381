"""What a run did, as it is shown: counts, stages, errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from rxpipe import Usage
from rxpipe.cli.views.summary import print_summary
from rxpipe.insight.advice import Advice
from rxpipe.pipeline.outcome import CommonError, Outcome, Report, StageReport
from rxpipe.pipeline.run.error_counts import ErrorCounts


def stage(name: str, utilization: float, **counts: Any) -> StageReport:
    """A stage's part."""
    given: dict[str, Any] = {"done": 990, "failed": 0, "retried": 0, "abandoned": 0, "busy_seconds": 12.5}
    return StageReport(name=name, concurrency=3, utilization=utilization, **{**given, **counts})


REPORT = Report(
    taken=1000,
    written=990,
    failed=8,
    cancelled=2,
    seconds=4.2,
    first_seconds=0.13,
    most_in_flight=40,
    stages=(stage("generation", 0.5), stage("answering", 0.99, failed=8, retried=20), stage("grading", 0.25)),
)


def told(capsys: pytest.CaptureFixture[str], report: Report) -> list[str]:
    """The lines of the summary of a report."""
    print_summary(report, "sqlite:///bank.db, table results", None)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_summary_of_what_the_cache_saved(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many calls, and what they had used, if anything; nothing where nothing was saved."""
    monkeypatch.setenv("COLUMNS", "120")
    saved = Usage(prompt_tokens=1234, completion_tokens=56, cost=0.42)
    report = replace(REPORT, stages=(stage("generation", 0.5, cached=12, saved=saved), stage("b", 0.1)), saved=saved)
    lines = told(capsys, report)
    assert lines[2] == (
        "saved by the cache: 12 calls, 1,234 prompt and 56 completion tokens, cost 0.42 "
        "(in the currency of your prices)"
    )
    header, _, first, second = lines[4:8]
    assert header.split()[4] == "cached"
    assert (first.split()[4], second.split()[4]) == ("12", "0")
    plain = replace(REPORT, stages=(stage("generation", 0.5, cached=1),))
    assert told(capsys, plain)[2] == "saved by the cache: 1 call"
    assert not any("cache" in line for line in told(capsys, REPORT))


def test_summary_of_paid_calls(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What each stage used, and how often the server was too busy; and all together, now and before."""
    monkeypatch.setenv("COLUMNS", "120")
    usage = Usage(prompt_tokens=1234, completion_tokens=56, cost=0.42)
    stages = stage("generation", 0.5, usage=usage), stage("answering", 0.25, pushed_back=7)
    before = Usage(prompt_tokens=6, cost=0.1)
    report = replace(REPORT, stages=stages, usage=usage, usage_before=before, run=3, written_before=5)
    lines = told(capsys, report)
    assert lines[3:6] == [
        "1,234 prompt and 56 completion tokens, cost 0.42",
        "before: 6 prompt and 0 completion tokens, cost 0.10",
        "in all: 1,240 prompt and 56 completion tokens, cost 0.52 (in the currency of your prices)",
    ]
    header, _, first, second = lines[7:11]
    assert "  retried  429s  " in header
    assert header.split("slots used")[1].split() == ["prompt", "completion", "cost"]
    assert first.split("50% of 3")[1].split()[:3] == ["1,234", "56", "0.42"]
    assert second.split()[4] == "7"
    assert second.split("25% of 3")[1].split() == ["0", "0", "0"]
    assert not any("the last 429" in line for line in lines)
    said = replace(report, stages=(stages[0], replace(stages[1], pushed_back=700, refusal="main: 429: slow down")))
    assert "the last 429: main: 429: slow down" in told(capsys, said)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_summary_of_paid_calls_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """The table is no wider than the screen, and keeps the cost as long as it can."""
    monkeypatch.setenv("COLUMNS", str(width))
    usage = Usage(prompt_tokens=1234, completion_tokens=56, cost=0.42)
    lines = told(capsys, replace(REPORT, stages=(stage("generation", 0.5, usage=usage, pushed_back=3),), usage=usage))
    first = next(number for number, line in enumerate(lines) if line.startswith("stage"))
    table = lines[first : first + 3]
    assert max(map(cell_len, table)) <= width
    assert width == 40 or "cost" in table[0]


def failed(error: BaseException, stage: str = "answering", item: int = 1) -> Outcome[Any]:
    """An item that failed."""
    return Outcome(id=item, status="failed", value=None, error=error, stage=stage, attempts=1, seconds=1.0)


def shown(capsys: pytest.CaptureFixture[str], failures: ErrorCounts, stopped_by: str | None = None) -> list[str]:
    """The lines of the summary."""
    print_summary(replace(REPORT, errors=tuple(failures.commonest())), "sqlite:///bank.db, table results", stopped_by)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts that add up, times, the stages with the bottleneck, where the rows are."""
    sentence = "answering holds the others up: 3 slots, 99% busy; 6 would give +98%, then generation does"
    advice = Advice(sentence=sentence, kind="stage", name="answering")
    assert told(capsys, replace(REPORT, advice=advice)) == [
        "1,000 taken = 990 written + 8 failed + 2 cancelled",
        "4.20 s, first row after 0.13 s, 238 items/s, at most 40 in flight",
        "",
        "stage       done  failed  retried  abandoned  busy s  slots used",
        "─" * 78,
        "generation   990       0        0          0   12.50    50% of 3",
        "answering    990       8       20          0   12.50    99% of 3  ◀ bottleneck",
        "grading      990       0        0          0   12.50    25% of 3",
        "",
        sentence,
        "",
        "rows: sqlite:///bank.db, table results",
    ]


def test_a_stage_that_was_not_busy_all_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    """The table's share and the sentence's are of different times, and words say so."""
    advice = Advice(sentence="generation holds the others up: 3 slots, 100% busy", kind="stage", name="generation")
    lines = told(capsys, replace(REPORT, advice=advice))
    place = lines.index(advice.sentence)
    assert "50% of 3  ◀ bottleneck" in lines[place - 4]
    assert lines[place + 1].startswith("busy: while the run was full; slots used: of the whole run")


def test_where_two_are_too_close_to_call_none_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence tells of both."""
    sentence = "answering and grading hold the others up; it is too close to call which more"
    advice = Advice(sentence=sentence, kind="stage", name="answering", other="grading")
    lines = told(capsys, replace(REPORT, advice=advice))
    assert sentence in lines
    assert not any("bottleneck" in line for line in lines)


def test_where_nothing_was_done_there_is_no_bottleneck(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no advice, and no stage is marked."""
    idle = stage("generation", 0.99, done=0), stage("answering", 0, done=0)
    assert not any("bottleneck" in line for line in told(capsys, replace(REPORT, stages=idle, advice=None)))


def test_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """The commonest errors are told, by stage and text, and how many of the 8 that failed had others."""
    failures = ErrorCounts()
    for error in [ValueError("no"), KeyError("x"), ValueError("no")]:
        failures.add(failed(error))
    failures.add(failed(ValueError("no"), "grading"))
    lines = shown(capsys, failures)
    assert lines[lines.index("errors, the commonest first:") + 1 :] == [
        "        2  answering  ValueError: no",
        "        1  answering  KeyError: 'x'",
        "        1  grading  ValueError: no",
        "        4  for other reasons",
    ]


def test_stopped_early(capsys: pytest.CaptureFixture[str]) -> None:
    """What stopped a run comes first."""
    assert shown(capsys, ErrorCounts(), "Ctrl-C")[0] == "stopped by Ctrl-C"


def test_summary_of_a_dataflow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends that there are stand with the others; so do the reasons for which items were dropped."""
    monkeypatch.setenv("COLUMNS", "120")
    stages = stage("generation", 0.5), stage("check", 0.25, dropped=7, sent_back=3)
    counts: dict[str, Any] = {"taken": 100, "spawned": 200, "written": 190}
    counts |= {"dropped": 7, "expanded": 80, "collected": 13}
    drops = CommonError("check", "no text", 5, same=False), CommonError("check", "", 2)
    lines = told(capsys, replace(REPORT, stages=stages, drops=drops, **counts))
    assert lines[:2] == [
        "100 taken + 200 spawned = 190 written + 8 failed + 7 dropped + 80 expanded + 13 collected + 2 cancelled",
        "4.20 s, first row after 0.13 s, 71.0 items/s, at most 40 in flight",
    ]
    assert lines[3].split()[3:7] == ["retried", "dropped", "sent", "back"]
    assert [line.split()[4:6] for line in lines[5:7]] == [["0", "0"], ["7", "3"]]
    assert lines[-3:] == [
        "dropped items, the commonest reason first:",
        "        5  check  no text  (numbers vary)",
        "        2  check  (no reason given)",
    ]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_summary_fits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """The table is no wider than the screen."""
    monkeypatch.setenv("COLUMNS", str(width))
    lines = [line for line in shown(capsys, ErrorCounts()) if not line.startswith("not shown")]
    assert max(map(cell_len, lines)) <= width
    assert any("answering" in line and "99% of 3" in line for line in lines)


def test_texts_that_differ_in_numbers_are_one_error() -> None:
    """Request numbers and addresses do not make another error; the first text stands for all."""
    failures = ErrorCounts()
    for number in range(3):
        failures.add(failed(ConnectionError(f"503, request {number} at 0x7f{number}a")))
    (found,) = failures.commonest()
    assert (found.count, found.same) == (3, False)
    assert found.text == "ConnectionError: 503, request 0 at 0x7f0a"


@pytest.mark.parametrize(
    "text",
    [
        "main: the reply does not fit: question: Input should be a string; in {}",
        "main: no JSON in the reply: {}",
        "the server said {}",
    ],
)
def test_texts_that_quote_replies_are_one_error(text: str) -> None:
    """What a model said is another text each time; it is cut wherever the error's text is."""
    failures = ErrorCounts()
    for reply in [
        '{"question": ["小军把一根绳子剪成相等的几段，每段长多少米？"]}',
        "I'd say that it's " + "a" * 1000,
        'A "quoted" word: ' + "b" * 40,
    ]:
        failures.add(failed(ValueError(text.format(repr(reply)))))
    (found,) = failures.commonest()
    assert found.count == 3


def test_short_quotes_tell_errors_apart() -> None:
    """They are names."""
    failures = ErrorCounts()
    for name in ("topic", "level", "isn't"):
        failures.add(failed(ValueError(f"there is no field {name!r}, and it wasn't asked for, or so it seems")))
    assert len(failures.commonest()) == 3


def test_only_failures_count() -> None:
    """What was written or cancelled is no failure; long texts are cut and put on a line."""
    failures = ErrorCounts()
    written = Outcome(id=1, status="written", value=1, error=None, stage=None, attempts=1, seconds=1.0)
    failures.add(written)
    failures.add(failed(ValueError("a\nb" + "c" * 1000)))
    (found,) = failures.commonest()
    assert found.text.startswith("ValueError: a bcc")
    assert len(found.text) == 300


def test_errors_without_end_take_no_memory() -> None:
    """A million different texts are not all kept."""
    failures = ErrorCounts()
    letters = "abcdefghijklmnopqrstuvwxyz"
    for one in letters:
        for two in letters:
            for three in "abc":
                failures.add(failed(ValueError(one + two + three)))
    assert len(failures.commonest(10_000)) == 1000


def test_foreign_text_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither escape sequences nor rich's markup in an error act."""
    failures = ErrorCounts()
    failures.add(failed(ValueError("\x1b[31m[bold]x[/nothing]")))
    assert any("\\x1b[31m[bold]x[/nothing]" in line for line in shown(capsys, failures))


def test_console_is_what_standard_output_is() -> None:
    """Without a terminal there are no colors in it."""
    assert not Console().is_terminal
