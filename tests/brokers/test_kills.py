"""The consuming process is killed again and again: every row is written once, and every message acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from programs import Program

from brokers.helpers import bodies, place_at, until
from rxpipe.store.items.claims import TRIES_ALONE

TESTS = str(Path(__file__).parents[1])
MESSAGES = 600
KILLS = 5


@contextmanager
def worker(kind: str, name: str, folder: Path, seconds: float, *more: str) -> Generator[subprocess.Popen[str]]:
    arguments = ["-m", "brokers.worker", kind, name, str(folder), str(seconds), *more]
    environment = os.environ | {"PYTHONPATH": TESTS}
    with (folder / "errors").open("ab") as errors:
        process = Program(
            *arguments, stderr=errors, imports=["rxpipe.faststream", f"brokers.{kind}_place"], env=environment
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def rows(folder: Path) -> list[str]:
    """The IDs of rows that are committed as written."""
    if not (folder / "bank.db").exists():
        return []
    with closing(sqlite3.connect(folder / "bank.db", timeout=10)) as database:
        try:
            found = database.execute("SELECT id FROM results WHERE status = 'written'").fetchall()
        except sqlite3.OperationalError:  # the table is not made yet
            return []
    return [str(each) for (each,) in found]


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


async def called(folder: Path, count: int) -> None:
    """Wait until so many calls were made."""
    await until(lambda: len(calls(folder)) >= count)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])
def test_killed_five_times(kind: str, tmp_path: Path) -> None:
    """No message is lost, none is left, each row is there once, and what was committed is not called again."""
    asyncio.run(kill_and_go_on(kind, tmp_path))
    assert (tmp_path / "errors").read_text() == ""


async def kill_and_go_on(kind: str, folder: Path) -> None:
    chance = random.Random()
    async with place_at(kind) as place:
        await place.publish(bodies(range(MESSAGES)))
        committed: list[tuple[int, set[str]]] = []
        for _ in range(KILLS):
            made = len(calls(folder)) + chance.randrange(30, 180)
            with worker(kind, place.name, folder, 0.005) as process:
                await called(folder, made)
                process.kill()
            committed.append((len(calls(folder)), set(rows(folder))))
        with worker(kind, place.name, folder, 0.005) as process:
            await until(lambda: len(rows(folder)) >= MESSAGES)
            if kind != "rabbit":  # which tells it of what nobody has in hand only

                async def nothing_left() -> bool:
                    return await place.left() == 0

                await until(nothing_left)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0
        assert await place.left() == 0
        assert await place.published("failed") == []
    found = rows(folder)
    assert sorted(map(int, found)) == list(range(MESSAGES))
    made_again = [call for count, ids in committed for call in calls(folder)[count:] if call.partition(" ")[2] in ids]
    assert made_again == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])
def test_drained(kind: str, tmp_path: Path) -> None:
    """After SIGTERM what is in hand is finished and acknowledged, the rest is left, and the process ends well."""
    asyncio.run(drain(kind, tmp_path))
    assert (tmp_path / "errors").read_text() == ""


async def drain(kind: str, folder: Path) -> None:
    async with place_at(kind) as place:
        await place.publish(bodies(range(MESSAGES)))
        with worker(kind, place.name, folder, 0.01) as process:
            await called(folder, 180)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0
        written = sorted(map(int, rows(folder)))
        assert 60 < len(written) < MESSAGES
        assert len(calls(folder)) == 2 * len(written)
        assert await place.left() == MESSAGES - len(written)


@pytest.mark.slow
def test_deadly(tmp_path: Path) -> None:
    """A message whose item kills the process is a dead letter in the end, and the others come through."""

    async def main() -> None:
        async with place_at("rabbit") as place:
            await place.publish(bodies(range(40)))
            letters: list[dict[str, Any]] = []
            deaths = 0
            while not letters:
                with worker("rabbit", place.name, tmp_path, 0.005, "13") as process:

                    async def ended(process: subprocess.Popen[str] = process) -> bool:
                        letters.extend(await place.published("failed"))
                        return process.poll() is not None or (bool(letters) and len(rows(tmp_path)) == 39)

                    await until(ended)
                    process.send_signal(signal.SIGTERM)
                    code = await asyncio.to_thread(process.wait, 20)
                assert code == (0 if letters else 9)
                deaths += code == 9
            assert deaths == 2 + TRIES_ALONE
            assert [letter["id"] for letter in letters] == [13]
            assert letters[0]["error"].startswith("WorkerLost")
            assert await place.left() == 0

    asyncio.run(main())
