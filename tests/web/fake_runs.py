"""Runs in memory, as a store would answer of them: a live one of 300,000 items, past ones, and one full of attacks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from rxpipe.insight.reading import (
    Bar,
    CallRow,
    ErrorRow,
    Exchange,
    Heights,
    ItemDetails,
    ItemFilter,
    ItemPage,
    ItemRow,
    ItemStatus,
    Order,
    RunRow,
    Timeline,
    WorkerRow,
)
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.reading.call_heights import CallHeights

from .fake_figures import (
    ATTACKS,
    BEGAN,
    ERRORS,
    HOSTILE,
    ITEMS,
    KEY,
    LENGTH,
    LIVE,
    SCRIPT,
    STAGES,
    UNFINISHED,
    snapshot_at,
)

SHARES: dict[ItemStatus, int] = {"written": 91, "failed": 4, "dropped": 3, "cancelled": 2}
STATUSES: list[ItemStatus] = [status for status, percent in SHARES.items() for _ in range(percent)]


class FakeRuns:
    """Answers and obeys; its clock says how long the live run has lasted."""

    most_read = 25_000  # calls of which the timeline has heights

    def __init__(self, clock: Callable[[], float] | None = None, items: int = ITEMS) -> None:
        began = time.monotonic()
        self.clock = clock or (lambda: 640.0 + time.monotonic() - began)
        self.items_of_live = items
        self.requeued: list[tuple[int, ItemFilter | Sequence[str]]] = []
        self.stopped: list[tuple[int, bool]] = []
        self.asked: dict[str, int] = {}
        self.error: Exception | None = None
        self._lock = threading.Lock()

    def _asked(self, name: str) -> None:
        with self._lock:
            self.asked[name] = self.asked.get(name, 0) + 1
        if self.error is not None:
            raise self.error

    # Runs

    def runs(self) -> Sequence[RunRow]:
        self._asked("runs")
        return self._runs()

    def _runs(self) -> list[RunRow]:
        return [self._live(), *(self._past(number) for number in range(LIVE - 1, 0, -1))]

    def run(self, number: int) -> RunRow | None:
        self._asked("run")
        return next((row for row in self._runs() if row.number == number), None)

    def _live(self) -> RunRow:
        now = snapshot_at(self.clock())
        is_stopped = any(run == LIVE for run, _ in self.stopped)
        counts = {"written": now.written, "failed": now.failed, "dropped": now.dropped, "running": now.in_flight}
        return RunRow(
            number=LIVE,
            name="questions",
            state="finished" if is_stopped else "running",
            stages=tuple(name for name, _, _ in STAGES),
            counts={**counts, "ready": 1_204},
            workers=0 if is_stopped else 2,
            began_at=BEGAN,
            ended_at=now.at if is_stopped else None,
            active_at=now.at,
            usage=now.usage,
        )

    def _past(self, number: int) -> RunRow:
        ended = snapshot_at(LENGTH + number * 31, run=number, state="finished")
        is_unfinished, is_hostile = number == UNFINISHED, number == HOSTILE
        began = BEGAN - (LIVE - number) * 7_300.0
        return RunRow(
            number=number,
            name=SCRIPT if is_hostile else "questions" if number % 3 else "nightly grading of everything",
            state="unfinished" if is_unfinished else "finished",
            stages=ATTACKS[:3] if is_hostile else tuple(name for name, _, _ in STAGES),
            counts={"written": ended.written, "failed": ended.failed, "dropped": ended.dropped}
            | ({"ready": 912} if is_unfinished else {}),
            workers=0,
            began_at=began,
            ended_at=None if is_unfinished else began + ended.elapsed,
            active_at=began + ended.elapsed,
            usage=ended.usage,
        )

    # Numbers

    def snapshots(self, run: int, *, most: int = 600) -> Sequence[Snapshot]:
        self._asked("snapshots")
        latest = self._latest(run)
        if latest is None:
            return []
        count = min(most, 120)
        return [self._snapshot(run, latest.elapsed * (step + 1) / count, latest.state) for step in range(count)]

    def latest(self, run: int) -> Snapshot | None:
        self._asked("latest")
        return self._latest(run)

    def _latest(self, run: int) -> Snapshot | None:
        if run == LIVE:
            is_stopped = any(number == LIVE for number, _ in self.stopped)
            return self._snapshot(run, self.clock(), "finished" if is_stopped else "running")
        return self._snapshot(run, LENGTH + run * 31, "finished") if 1 <= run < LIVE else None

    def _snapshot(self, run: int, elapsed: float, state: Any) -> Snapshot:
        made = snapshot_at(elapsed, run=run, state=state, names=ATTACKS[:3] if run == HOSTILE else ())
        if run == HOSTILE:
            limiters = (replace(made.limiters[0], name=SCRIPT),)
            return replace(made, pipeline=SCRIPT, limiters=limiters)
        return made

    def workers(self, run: int) -> Sequence[WorkerRow]:
        self._asked("workers")
        at = BEGAN + self.clock()
        rows = [
            WorkerRow(id="1", host="worker-a", pid=4211, state="alive", began_at=BEGAN, heartbeat_at=at - 3, held=31),
            WorkerRow(
                id="2", host="worker-b", pid=877, state="late", began_at=BEGAN + 50, heartbeat_at=at - 41, held=22
            ),
            WorkerRow(id="3", host="worker-b", pid=611, state="lost", began_at=BEGAN, heartbeat_at=BEGAN + 44, held=0),
        ]
        return rows if run == LIVE else [replace(row, state="stopped", held=0) for row in rows]

    def errors(self, run: int) -> Sequence[ErrorRow]:
        self._asked("errors")
        rows = [
            ErrorRow(
                stage=stage, type=type_, text=text, items=61 - 17 * rank, calls=410 - 90 * rank, last_at=BEGAN + 600
            )
            for rank, (stage, type_, text) in enumerate(ERRORS)
        ]
        if run == HOSTILE:
            rows += [ErrorRow(stage=text, type=text, text=text, items=2, calls=3, last_at=BEGAN) for text in ATTACKS]
        return rows

    # Items

    def _row(self, run: int, index: int) -> ItemRow:
        mixed = (index * 2_654_435_761) % 4_294_967_296
        status: ItemStatus = STATUSES[mixed % len(STATUSES)]
        if run == LIVE and index >= self.items_of_live - 60:
            status = "running"
        error, stage = None, None
        if status == "failed":
            stage, type_, text = ERRORS[mixed // 100 % len(ERRORS)]
            error = f"{type_}: {text}"
        elif status == "dropped":
            stage, error = "grading", "too easy"
        elif status in ("running", "cancelled"):
            stage = STAGES[mixed // 100 % 3][0]
        took = 2.2 + (mixed % 1_000) / 190
        began = BEGAN + index * 640.0 / self.items_of_live
        item: int | str = index + 1 if run != HOSTILE else f"{ATTACKS[index % len(ATTACKS)]}{index}"
        return ItemRow(
            id=item,
            status=status,
            stage=stage,
            attempts=3 + mixed % 3,
            rounds=1 if mixed % 41 == 0 else 0,
            children=3 if index == 41 else 0,
            parent=42 if run == LIVE and 42 < index < 46 else None,
            error=ATTACKS[index % len(ATTACKS)] if run == HOSTILE else error,
            began_at=began,
            ended_at=None if status == "running" else began + took,
        )

    def _matching(self, run: int, wanted: ItemFilter, order: Order, after: int | None) -> Iterator[tuple[int, ItemRow]]:
        count = self.items_of_live if run == LIVE else 40 if run == HOSTILE else 12_000
        if order == "oldest":
            indexes = range(0 if after is None else after + 1, count)
        else:
            indexes = range(count - 1 if after is None else after - 1, -1, -1)
        for index in indexes:
            row = self._row(run, index)
            if _fits(row, wanted):
                yield index, row

    def items(
        self, run: int, wanted: ItemFilter, *, order: Order = "newest", after: str | None = None, most: int = 100
    ) -> ItemPage:
        self._asked("items")
        found: list[tuple[int, ItemRow]] = []
        for one in self._matching(run, wanted, order, None if after is None else int(after)):
            if len(found) == most:
                return ItemPage(items=tuple(row for _, row in found), following=str(found[-1][0]))
            found.append(one)
        return ItemPage(items=tuple(row for _, row in found))

    def count(self, run: int, wanted: ItemFilter, *, most: int = 10_000) -> int:
        self._asked("count")
        count = 0
        for _ in self._matching(run, wanted, "oldest", None):
            count += 1
            if count >= most:
                break
        return count

    def item(self, run: int, item: str) -> ItemDetails | None:
        self._asked("item")
        index = self._index(run, item)
        if index is None:
            return None
        row = self._row(run, index)
        text = ATTACKS[index % len(ATTACKS)] if run == HOSTILE else "Which of these rivers is the longest?"
        long = "word " * 400_000 if item == "7" else "x" * 2_000_000 if item == "8" else text
        began = row.began_at or BEGAN
        calls = (
            _call("generation", 1, began, 0.1, 0.82, "ok", text, text),
            _call("answering", 1, began + 1.0, 1.2, 0.3, "pushed_back", text, None),
            _call("answering", 2, began + 3.1, 0.0, 1.9, "ok", text, long),
            _call("grading", 1, began + 5.1, 0.05, 0.4, "failed" if row.status == "failed" else "ok", text, "7"),
        )
        return ItemDetails(
            row=row,
            value={"topic": "geography", "seed": index, "note": text},
            outputs=(
                ("generation", {"question": text, "options": ["Nile", "Amazon", "Yangtze"]}),
                ("answering", long),
                ("grading", {"score": 7, "why": text}),
            ),
            calls=calls,
            parents=(row.parent,) if row.parent is not None else (),
            children={"written": 2, "dropped": 1} if row.children else {},
        )

    def _index(self, run: int, item: str) -> int | None:
        if run == HOSTILE:
            return next((index for index in range(40) if str(self._row(run, index).id) == item), None)
        count = self.items_of_live if run == LIVE else 12_000
        return int(item) - 1 if item.isdecimal() and 0 < int(item) <= count else None

    def timeline(self, run: int, *, since: float, seconds: float, most: int = 2_000, parts: int = 600) -> Timeline:
        self._asked("timeline")
        bars: list[Bar] = []
        names = ATTACKS[:3] if run == HOSTILE else tuple(name for name, _, _ in STAGES)
        until = min(since + seconds, self.clock() if run == LIVE else LENGTH)
        for index, (_, slots, mean) in enumerate(STAGES):
            for slot in range(slots):
                length = mean * (0.8 + 0.05 * slot)
                turn = int(since / length)
                while turn * length < until:
                    busy = (0.72, 0.985, 0.41)[index]
                    ended = "failed" if (turn * 7 + slot) % 37 == 0 else "retried" if (turn + slot) % 23 == 0 else "ok"
                    bars.append(
                        Bar(
                            item=turn * 50 + slot + 1,
                            stage=names[index],
                            began=turn * length,
                            seconds=length * busy,
                            ended=ended,
                        )
                    )
                    turn += 1
        heights = tuple(_heights(name, bars, since, seconds, parts) for name in names)
        longest = sorted(bars, key=lambda bar: bar.seconds, reverse=True)[:most]
        shown = tuple(sorted(longest, key=lambda bar: bar.began))
        return Timeline(bars=shown, calls=len(bars), heights=None if len(bars) > self.most_read else heights)

    # What is done

    def requeue(self, run: int, wanted: ItemFilter | Sequence[str]) -> int:
        self._asked("requeue")
        self.requeued.append((run, wanted))
        return self.count(run, wanted) if isinstance(wanted, ItemFilter) else len(wanted)

    def stop(self, run: int, *, abort: bool = False) -> int:
        self._asked("stop")
        self.stopped.append((run, abort))
        return 2


def _heights(stage: str, bars: Sequence[Bar], since: float, seconds: float, parts: int) -> Heights:
    running, failed = (CallHeights(since, seconds, parts) for _ in range(2))
    for bar in bars:
        if bar.stage == stage:
            running.add(bar.began, bar.seconds)
            failed.add(bar.began, 0.0 if bar.ended == "ok" else bar.seconds)
    return Heights(stage=stage, running=running.means(), failed=failed.means())


def _call(
    stage: str, attempt: int, began: float, waited: float, seconds: float, ended: str, asked: str, reply: str | None
) -> CallRow:
    failed = ended not in ("ok",)
    text = "ValidationError: score: Input should be less than or equal to 10" if ended == "failed" else "429: slow down"
    return CallRow(
        stage=stage,
        attempt=attempt,
        began_at=began,
        waited=waited,
        seconds=seconds,
        in_flight=7,
        ended=ended,
        usage=Usage(prompt_tokens=412, completion_tokens=61, cost=0.00031),
        error=f"{text}; key {KEY}; {asked}" if failed else None,
        traceback=f'Traceback (most recent call last):\n  File "grade.py", line 31, in grade\n{text}'
        if failed
        else None,
        exchanges=(
            Exchange(
                model="small-model-4b",
                messages=(
                    {"role": "system", "content": "You write questions for an exam. Answer in JSON."},
                    {"role": "user", "content": asked},
                ),
                reply=reply,
            ),
        ),
    )


def _fits(row: ItemRow, wanted: ItemFilter) -> bool:
    took = None if row.ended_at is None or row.began_at is None else row.ended_at - row.began_at
    return (
        (wanted.status is None or row.status == wanted.status)
        and (wanted.stage is None or row.stage == wanted.stage)
        and (wanted.error is None or wanted.error.lower() in (row.error or "").lower())
        and (wanted.text is None or wanted.text in str(row.id))
        and (wanted.parent is None or str(row.parent) == wanted.parent)
        and (wanted.longer_than is None or (took is not None and took >= wanted.longer_than))
        and (wanted.since is None or (row.ended_at or BEGAN) >= wanted.since)
        and (wanted.until is None or (row.ended_at or BEGAN) < wanted.until)
    )
