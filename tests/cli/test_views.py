"""What a run looks like as it goes: on a screen, and in a log."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import replace
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from rxpipe import Outcome, Usage
from rxpipe.insight.interval import Interval
from rxpipe.insight.outlook import Outlook
from rxpipe.screen.figures import Meter
from rxpipe.screen.lines import Lines, interrupt_line, progress_line
from rxpipe.screen.live import Screen
from rxpipe.screen.texts import about

from .runs import MadeRun


def drawn(made: MadeRun, width: int, height: int = 24, *, total: int | None = 1000, interrupts: int = 0) -> list[str]:
    """The lines of a screen, after ten seconds."""
    screen = Screen("pipeline.yaml", Meter(made.run.snapshot, total=total), 25.0)
    screen.interrupts = interrupts
    made.seconds += 10
    console = Console(file=StringIO(), width=width, height=height, highlight=False)
    with console.capture() as captured:
        console.print(screen)
    return [line.rstrip() for line in captured.get().splitlines()]


def bank() -> MadeRun:
    """Three stages that have done something."""
    made = MadeRun("generation", "answering", "grading")
    for place, stage in enumerate(made.stages):
        stage.taken, stage.started, stage.done = 543, 533, 530 - 10 * place
        stage.times.seconds.add(0.283, 533)
        stage.times.last_end = 9.9
    made.stages[1].retried, made.stages[1].started = 12, 540
    return made


def test_screen() -> None:
    """A row per stage, a bar and a line for the whole."""
    made = bank()
    lines = drawn(made, 80)
    assert lines[2:6] == [
        "stage       waiting  running  done  failed  retried  items/s    mean",
        "─" * 68,
        "generation       10      3/3   530       0        0        0  0.28 s",
        "answering        15      3/3   520       0       12        0  0.28 s",
    ]
    assert lines[-2].endswith("0 of 1,000  0%")
    assert lines[-1] == "0:10 elapsed · 0 in flight · 0 written · 0 failed · 0/s"


def test_screen_of_paid_calls() -> None:
    """What is used, and how often the server was too busy, have columns when there is any."""
    made = bank()
    made.stages[0].usage = Usage(prompt_tokens=1_500_000, completion_tokens=700_000)
    made.stages[1].usage = Usage(prompt_tokens=12_000, completion_tokens=345)
    made.stages[1].pushed_back, made.stages[1].started = 7, 547
    lines = drawn(made, 100)
    assert lines[2:6] == [
        "stage       waiting  running  done  failed  retried  429s  tokens  items/s    mean",
        "─" * 82,
        "generation       10      3/3   530       0        0     0    2.2M        0  0.28 s",
        "answering        15      3/3   520       0       12     7  12,345        0  0.28 s",
    ]
    assert lines[-1].endswith("0/s · 2.2M tokens")


def test_screen_of_costs() -> None:
    """So far, and in the end."""
    made = bank()
    made.stages[0].usage = Usage(prompt_tokens=10, cost=0.421)
    made.set(taken=150, written=140, failed=10)
    lines = drawn(made, 80)
    assert lines[-2:] == [
        "0:10 elapsed · 0 in flight · 140 written · 10 failed · 0/s",
        "cost 0.42 of about 2.81",
    ]


def test_screen_knows_when() -> None:
    """Where the total is known, the end is foreseen."""
    made = bank()
    screen = Screen("pipeline.yaml", Meter(made.run.snapshot, total=1000), 25.0)
    made.set(taken=300, written=240, failed=10)
    made.seconds = 5.0
    console = Console(file=StringIO(), width=80)
    with console.capture() as captured:
        console.print(screen)
    bar, whole = captured.get().splitlines()[-2:]
    assert bar.strip().endswith("250 of 1,000  25%")
    assert whole.rstrip() == "0:05 elapsed · 50 in flight · 240 written · 10 failed · 50.0/s · 0:15 left"


def test_screen_without_total() -> None:
    """A source that does not say how much it has gets no bar."""
    assert not any("%" in line for line in drawn(bank(), 80, total=None))


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_screen_fits(width: int) -> None:
    """No line is wider than the screen, and the stages keep their names and their numbers."""
    lines = drawn(bank(), width, interrupts=0)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert "530" in text
    assert "gene" in text
    assert "elapsed" in text


def test_many_stages() -> None:
    """Stages that have no room are counted, so that the line for the whole stays on the screen."""
    made = MadeRun(*(f"stage {number}" for number in range(40)))
    lines = drawn(made, 80, 24)
    assert len(lines) <= 24
    assert any(line.startswith("+ 28 more") for line in lines)
    assert "elapsed" in lines[-1]


@pytest.mark.parametrize(
    ("interrupts", "told"),
    [(1, "stopping: finishing 7 items within 25 s, Ctrl-C again to cancel them"), (2, "cancelling 7 items")],
)
def test_screen_tells_what_a_signal_does(interrupts: int, told: str) -> None:
    """What a Ctrl-C does stands at the end; there is no end to foresee any more."""
    made = bank()
    made.set(taken=107, written=100)
    lines = drawn(made, 80, interrupts=interrupts)
    assert lines[-1] == told
    assert not any("left" in line for line in lines)


def test_line() -> None:
    """A line in a log has the whole run, and what is left where that is known."""
    made = MadeRun("a")
    assert (
        progress_line(made.figures(1000, taken=530, written=516, failed=4, after=65.0))
        == "1:05  516 of 1,000 written, 4 failed, 10 in flight, 8.0/s, 1:00 left"
    )
    unknown = MadeRun("a").figures(taken=1, written=1)
    assert progress_line(unknown) == "0:10  1 written, 0 failed, 0 in flight, 0.10/s"


def test_line_of_paid_calls() -> None:
    """What was used so far and what that will come to, and how often the server was too busy."""
    made = MadeRun("a")
    made.stages[0].usage = Usage(prompt_tokens=500, completion_tokens=12, cost=0.42)
    made.stages[0].pushed_back = 12
    line = progress_line(made.figures(1000, taken=100, written=100))
    assert (
        line == "0:10  100 of 1,000 written, 0 failed, 0 in flight, 10.0/s, cost 0.42 of about 4.20, 12 429s, 1:30 left"
    )
    made.stages[0].usage = Usage(prompt_tokens=500, completion_tokens=12)
    assert ", 512 tokens of about 5,120, " in progress_line(made.figures(1000, taken=100, written=100))
    assert ", 512 tokens, " in progress_line(made.figures(None, taken=100, written=100))


def test_a_screen_says_what_429s_say() -> None:
    """The server's own sentence, of the stage that was refused most."""
    made = bank()
    assert not any("the last 429" in line for line in drawn(made, 80))
    made.stages[0].pushed_back, made.stages[0].refusal = 1, "main: 429: slow down"
    made.stages[1].pushed_back, made.stages[1].refusal = 72, "main: 429: 您的账户已欠费，请充值后重试。"
    assert not any("the last 429" in line for line in drawn(made, 80))  # of 1,600 calls
    made.stages[1].pushed_back = 720
    assert "the last 429: main: 429: 您的账户已欠费，请充值后重试。" in drawn(made, 80)


def dataflow() -> MadeRun:
    """Two stages: items are expanded, dropped and sent back."""
    made = MadeRun("generation", "check")
    made.stages[0].taken, made.stages[0].started, made.stages[0].done = 25, 25, 22
    made.stages[1].taken, made.stages[1].started, made.stages[1].done = 530, 530, 480
    made.stages[1].dropped, made.stages[1].sent_back = 40, 7
    return made


COUNTS = {"taken": 25, "spawned": 505, "written": 420, "dropped": 40, "expanded": 22, "collected": 12}


def test_line_of_a_dataflow() -> None:
    """What was taken and spawned comes first; the ends that there are follow those that there always are."""
    made = dataflow()
    meter = Meter(made.run.snapshot, total=100, expands=True)
    made.set(**COUNTS)
    made.seconds = 10.0
    assert progress_line(meter.read()) == (
        "0:10  25 of 100 taken, 505 spawned, 420 written, 0 failed, 40 dropped, 22 expanded, 12 collected, "
        "7 sent back, 36 in flight, 49.4/s"
    )


def test_line_of_a_dataflow_that_goes_on() -> None:
    """Of what was left, nobody knows how much are children: so it is not held against the source's number."""
    made = dataflow()
    made.set(**COUNTS)
    line = progress_line(replace(Meter(made.run.snapshot, total=4, expands=True).read(), before=40))
    assert line.startswith("0:00  25 taken, 505 spawned, 420 written")


def test_line_of_a_filter() -> None:
    """Where no item has children, items are counted as they always are."""
    line = progress_line(MadeRun("a").figures(100, taken=50, written=30, dropped=10))
    assert line == "0:10  30 of 100 written, 0 failed, 10 dropped, 10 in flight, 4.0/s, 0:15 left"


def test_screen_of_a_dataflow() -> None:
    """Stages that drop and send back have columns for that; the bar is that of the source."""
    made = dataflow()
    meter = Meter(made.run.snapshot, total=100, expands=True)
    made.set(**COUNTS)
    made.seconds = 10.0
    console = Console(file=StringIO(), width=90, height=24, highlight=False)
    with console.capture() as captured:
        console.print(Screen("pipeline.yaml", meter, 25.0))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert lines[2].split() == [
        *("stage", "waiting", "running", "done", "failed", "retried", "dropped", "sent", "back", "items/s", "mean")
    ]
    assert lines[5].split()[:7] == ["check", "0", "3/3", "480", "0", "0", "40"]
    bar, *whole = lines[-3:]
    assert bar.endswith("25 of 100 taken  25%")
    assert whole == [
        "0:10 elapsed · 25 taken + 505 spawned · 36 in flight · 420 written · 0 failed · 40 dropped",
        "22 expanded · 12 collected · 7 sent back · 49.4/s",
    ]


def test_one_item_is_no_items() -> None:
    """One is told in the singular."""
    assert interrupt_line(1, 1, 25.0).startswith("stopping: finishing 1 item within ")


class Heard(StringIO):
    """A stream that lets a test wait for its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = threading.Semaphore(0)

    def write(self, text: str) -> int:
        if text.endswith("\n"):
            self.lines.release()
        return super().write(text)


def test_lines_come_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a run lasts there is a line now and then."""
    monkeypatch.setattr(sys, "stderr", heard := Heard())
    with Lines(25.0, seconds=0.001) as lines:
        lines.begin(Meter(MadeRun("a").run.snapshot, total=None))
        for _ in range(3):
            assert heard.lines.acquire(timeout=10)
    assert heard.getvalue().startswith("0:00  0 written, 0 failed, 0 in flight, -/s\n")


def test_what_429s_say_is_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, although the server has another number in it each time."""
    monkeypatch.setattr(sys, "stderr", heard := Heard())
    made = MadeRun("a")
    made.stages[0].pushed_back = 1
    with Lines(25.0, seconds=0.001) as lines:
        lines.begin(Meter(made.run.snapshot, total=None))
        assert heard.lines.acquire(timeout=10)  # as yet the server has said nothing
        for number in range(4):
            made.stages[0].refusal = f"main: 429: wait {number} s"
            assert heard.lines.acquire(timeout=10)
    assert heard.getvalue().count("      the last 429: main: 429: wait") == 1


def test_quiet_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet has no lines, but answers to signals."""
    monkeypatch.setattr(sys, "stderr", heard := Heard())
    with Lines(25.0, quiet=True, seconds=0.0) as lines:
        lines.begin(Meter(MadeRun("a").run.snapshot, total=None))
        lines.interrupted(signal.SIGINT, 1)
    assert heard.getvalue() == "stopping: no items are in flight\n"


def foretold(made: MadeRun, cost: Interval | None = None) -> Meter:
    """A run of which more is known than how fast it goes."""
    made.run.outlook = Outlook(elapsed=5.0, seconds=Interval(middle=185.0, low=130.0, high=245.0), cost=cost)
    return Meter(made.run.snapshot, total=1000)


def test_what_is_left() -> None:
    """What was estimated a while ago is told as of now, with its interval."""
    made = MadeRun("a")
    meter = foretold(made)
    made.set(taken=530, written=516, failed=4)
    made.seconds = 10.0
    assert progress_line(meter.read()).endswith(", about 3 min left (2.1 to 4)")
    made.seconds = 180.0
    assert progress_line(meter.read()).endswith(", about 27 s left (2.9 to 80)")
    console = Console(file=StringIO(), width=100)
    with console.capture() as captured:
        console.print(Screen("pipeline.yaml", meter, 25.0))
    assert captured.get().rstrip().endswith("about 27 s left (2.9 to 80)")
    made.seconds = 255.0
    assert "left" not in progress_line(meter.read())  # it takes longer than was possible, so nobody knows


def test_what_it_will_cost() -> None:
    """The estimate takes the place of what a straight line says."""
    made = MadeRun("a")
    meter = foretold(made, Interval(middle=1.2, low=1.1, high=1.35))
    made.stages[0].usage = Usage(prompt_tokens=500, cost=0.42)
    made.set(taken=100, written=100)
    made.seconds = 10.0
    assert ", cost 0.42 of about 1.20 (1.10 to 1.35), " in progress_line(meter.read())


def test_that_all_items_fail() -> None:
    """It stays on the screen as long as it is so."""
    made = MadeRun("asking", "checking")
    screen = Screen("pipeline.yaml", Meter(made.run.snapshot, total=100), 25.0)
    made.stages[1].failed = 20
    error = Outcome(
        id=1, status="failed", value=None, error=KeyError("score"), stage="checking", attempts=3, seconds=1.0
    )
    for _ in range(20):
        made.run._errors.add(error)  # pyright: ignore[reportPrivateUsage] - a real run counts them as they end
    console = Console(file=StringIO(), width=200)
    told = "all 20 items so far have failed in checking: KeyError: 'score'; --max-failures 20 ends such a run early"
    for done, is_told in ((0, True), (1, False)):
        made.stages[1].done = done
        with console.capture() as captured:
            console.print(screen)
        assert (told in captured.get()) is is_told


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((40.2, 30.0, 55.0), "about 40 s (30 to 55)"),
        ((3.0, 3.0, 3.0), "about 3 s"),
        ((185.0, 130.0, 245.0), "about 3.1 min (2.2 to 4.1)"),
        ((7_300.0, 6_000.0, 8_300.0), "about 2 h (1.7 to 2.3)"),
        ((400_000.0, 300_000.0, 500_000.0), "about 4.6 days (3.5 to 5.8)"),
    ],
)
def test_times_that_are_not_known_exactly(seconds: tuple[float, float, float], text: str) -> None:
    """One unit for all three, in two figures."""
    middle, low, high = seconds
    assert about(Interval(middle=middle, low=low, high=high)) == text
