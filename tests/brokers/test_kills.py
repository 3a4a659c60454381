"""The consuming process is killed again and again: every row is written once, and every message acknowledged."""

from __future__ import annotations

import asyncio
import json
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
from brokers.worker import is_bad, parts_of
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


def checkpoints(folder: Path) -> set[str]:
    """The calls whose results are committed, as ``calls`` has them."""
    if not (folder / "bank.db").exists():
        return set()
    with closing(sqlite3.connect(folder / "bank.db", timeout=10)) as database:
        try:
            stages = json.loads(database.execute("SELECT stages FROM rxpipe_runs").fetchone()[0])
            kept = database.execute("SELECT stage, item_key FROM rxpipe_checkpoints WHERE stage >= 0").fetchall()
            kept += database.execute("SELECT stage, item_key FROM rxpipe_items WHERE state = 'expanded'").fetchall()
        except (sqlite3.OperationalError, TypeError):  # the tables, or the run, are not made yet
            return set()
    return {f"{stages[stage]['name']} {key}" for stage, key in kept}


def ended(folder: Path) -> int:
    """How many messages' items have ended by the store, with all of their children."""
    with closing(sqlite3.connect(folder / "bank.db", timeout=10)) as database:
        pending = "state IN ('ready', 'running', 'waiting')"
        below = f"EXISTS (SELECT 1 FROM rxpipe_items AS b WHERE b.root_key = a.item_key AND b.{pending})"
        query = f"SELECT count(*) FROM rxpipe_items AS a WHERE parent_key IS NULL AND NOT {pending} AND NOT {below}"
        return int(database.execute(query).fetchone()[0])


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["ids", pytest.param("records", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])
def test_killed_five_times(kind: str, shape: str, tmp_path: Path) -> None:
    """No message is lost, none is left, each row is there once, and what was committed is not called again.

    So it is of bodies of 10 kB with one to three children each, some of which fail.
    """
    asyncio.run(kill_and_go_on(kind, shape, tmp_path))
    assert (tmp_path / "errors").read_text() == ""


def expected(shape: str) -> tuple[list[str], set[str]]:
    """The IDs of rows that are to be written, and of dead letters."""
    if shape == "ids":
        return [str(number) for number in range(MESSAGES)], set()
    children = [(number, part) for number in range(MESSAGES) for part in range(parts_of(number))]
    bad = {f"{number}/{part}" for number, part in children if is_bad(number, part)}
    return [f"{number}/{part}" for number, part in children if not is_bad(number, part)], bad


async def kill_and_go_on(kind: str, shape: str, folder: Path) -> None:
    chance = random.Random()
    written, failed = expected(shape)
    async with place_at(kind) as place:
        records = [{"number": number, "text": 10_000 * chr(97 + number % 26)} for number in range(MESSAGES)]
        await place.publish(bodies(range(MESSAGES) if shape == "ids" else records))
        committed: list[tuple[int, set[str]]] = []
        for _ in range(KILLS):
            made = len(calls(folder)) + chance.randrange(MESSAGES // 20, 3 * MESSAGES // 10)
            with worker(kind, place.name, folder, 0.005, "", shape) as process:
                await called(folder, made)
                process.kill()
            committed.append((len(calls(folder)), checkpoints(folder)))
            if committed[-1][1]:

                async def none_is_acknowledged_too_early() -> bool:
                    return MESSAGES - await place.left() <= ended(folder)

                await until(none_is_acknowledged_too_early)  # RabbitMQ needs a moment to have back what was in hand
        with worker(kind, place.name, folder, 0.005, "", shape) as process:
            await until(lambda: len(rows(folder)) >= len(written))
            if kind != "rabbit":  # which tells it of what nobody has in hand only

                async def nothing_left() -> bool:
                    return await place.left() == 0

                await until(nothing_left)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0
        assert await place.left() == 0
        assert {letter["id"] for letter in await place.published("failed")} == failed
    assert sorted(rows(folder)) == sorted(written)
    assert committed[-1][1]
    made_again = [call for count, kept in committed for call in calls(folder)[count:] if call in kept]
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
