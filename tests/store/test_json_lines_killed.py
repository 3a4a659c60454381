"""SIGKILL, while rows go into a file: the next run finishes the work, and each row is there once."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from pipeline_helpers import until
from programs import Program

PROGRAM = Path(__file__).with_name("json_lines_program.py")
COUNT = 12


def killed(folder: Path, place: str, number: int) -> bool:
    """Whether the program came by that place so often, and was killed."""
    program = Program(PROGRAM, folder, place, str(number), str(COUNT))
    code = program.wait(60)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def check(folder: Path) -> None:
    """Finish the run; see that each row is there once, and that no call was made for a row that was there."""
    path = folder / "out.jsonl"
    before, called = path.read_bytes() if path.exists() else b"", calls(folder)
    kept = before[: known(path)[0]]
    assert not killed(folder, "nowhere", 1)
    after = path.read_bytes()
    assert after.startswith(kept)
    lines = [json.loads(line) for line in after.splitlines()]
    assert sorted(line["id"] for line in lines) == list(range(COUNT))
    assert all(line["value"] == {"n": line["id"]} for line in lines)
    assert known(path) == (len(after), 0)
    again = calls(folder) - called
    assert not {json.loads(line)["id"] for line in kept.splitlines()} & set(again)
    assert set(again.values()) <= {1}


def known(path: Path) -> tuple[int, int]:
    """What the store knows of the file: its length, and whether somebody writes."""
    with closing(sqlite3.connect(f"{path}.run.db")) as store:
        tables = store.execute("SELECT name FROM sqlite_master WHERE name = 'rxpipe_files'").fetchall()
        rows = store.execute("SELECT length, is_open FROM rxpipe_files").fetchall() if tables else []
    return rows[0] if rows else (0, 0)


def calls(folder: Path) -> Counter[int]:
    """How often each item was called."""
    ledger = folder / "ledger"
    return Counter(map(int, ledger.read_text().split() if ledger.exists() else []))


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["before the file", "in the midst", "behind the file", "before the commit", "behind the commit"]
)
def test_killed_at_each_place(tmp_path: Path, place: str) -> None:
    """Each time that it comes by."""
    number = 1
    while True:
        folder = tmp_path / str(number)
        folder.mkdir()
        was_killed = killed(folder, place, number)
        check(folder)
        if not was_killed:
            break
        number += 1
    assert number > 2


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:
    """In the midst of each batch in turn, by one process after the other."""
    kills = 0
    while killed(tmp_path, "in the midst" if kills % 2 else "behind the file", 2):
        kills += 1
        assert kills < 4 * COUNT
    assert kills > 1
    check(tmp_path)


@pytest.mark.slow
def test_killed_at_any_time(tmp_path: Path) -> None:
    """From outside, when the file has come to some length."""
    path = tmp_path / "out.jsonl"
    for length in (1, 300, 700):
        program = Program(PROGRAM, tmp_path, "nowhere", "1", str(COUNT))
        until(partial(is_written, program, path, length))
        program.kill()
        program.wait(60)
    check(tmp_path)


def is_written(program: Program, path: Path, length: int) -> bool:
    """Whether the file is as long as that, or will not be."""
    return program.poll() is not None or (path.exists() and path.stat().st_size >= length)
