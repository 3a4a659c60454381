"""A rolling upgrade with two wheels: ``python -m store.rolling_upgrade OLD.whl NEW.whl`` in the folder ``tests``.

Workers of both work on one run in PostgreSQL (``RXPIPE_TEST_POSTGRES``) with slow calls. One after the other is ended,
in order or by SIGKILL, and replaced by one of the other wheel: first old by new, then new by old, as when an upgrade is
taken back. If the new wheel's stores have a newer schema, there is no way back: one old worker is killed, and the new
one in its place has the other one finish what it has. Then it is checked that each item has one row, that each row is
made of calls that were made, and that no call was made again, but for those that a killed worker had under way or had
not yet committed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from servers import POSTGRES, own_database
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from store.rolling_worker import STAGES

WORKERS = 2
LATE = 0.5  # seconds after its return in which a result is committed
PATIENCE = 180.0
INTERRUPTED = 3


class Call(NamedTuple):
    """A call that was made.

    Attributes:
        token: What tells it from others.
        pid: The process that made it.
        returned: When it returned, by the machine's steady clock; None if it never has.
    """

    token: str
    pid: int
    returned: float | None


@dataclass
class Worker:
    """A process that works on the run with the rxpipe of one wheel."""

    version: str
    process: subprocess.Popen[str]
    said: Path

    def wait_until_started(self) -> None:
        """Return once it has joined the run."""
        deadline = time.monotonic() + PATIENCE
        while "started" not in self.said.read_text():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, "a worker has not started"
            time.sleep(0.05)


@dataclass
class Upgrade:
    """A run, and who works on it.

    Attributes:
        killed: When processes were killed, by their numbers.
    """

    folder: Path
    wheels: dict[str, Path]
    url: str
    items: int
    seconds: float
    workers: list[Worker] = field(default_factory=list[Worker])
    killed: dict[int, float] = field(default_factory=dict[int, float])
    _files: ExitStack = field(default_factory=ExitStack)

    @property
    def ledger(self) -> Path:
        """Of all workers."""
        return self.folder / "ledger"

    def start(self, version: str) -> None:
        """Start a worker, and wait until it has joined."""
        said = self.folder / f"said.{len(list(self.folder.glob('said.*')))}"
        file: IO[str] = self._files.enter_context(said.open("w"))
        command = [sys.executable, str(Path(__file__).with_name("rolling_worker.py")), self.url, str(self.ledger)]
        environment = {**os.environ, "PYTHONPATH": str(self.wheels[version]), "PYTHONSAFEPATH": "1"}
        process = subprocess.Popen(
            [*command, str(self.items), str(self.seconds)],
            env=environment,
            cwd=self.folder,
            stdout=file,
            stderr=file,
            text=True,
        )
        worker = Worker(version, process, said)
        self.workers.append(worker)
        worker.wait_until_started()
        assert str(self.wheels[version]) in said.read_text(), "not the rxpipe of the wheel"

    def replace(self, version: str, by: str, *, kill: bool) -> None:
        """End the first worker of a version, and start one of another version."""
        worker = next(one for one in self.workers if one.version == version)
        self.workers.remove(worker)
        if kill:
            self.killed[worker.process.pid] = time.monotonic()
        worker.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        code = worker.process.wait(PATIENCE)
        assert code in ((-signal.SIGKILL,) if kill else (0, INTERRUPTED)), worker.said.read_text()
        self.start(by)

    def roll(self, first: str, then: str, *, pause: float) -> None:
        """Replace all workers, one killed and the others ended in order."""
        for number in range(WORKERS):
            time.sleep(pause)
            self.replace(first, then, kill=number == 0)

    def migrate(self, *, pause: float) -> None:
        """Kill an old worker; the new one that takes its place has the others finish, which are then replaced."""
        time.sleep(pause)
        self.replace("old", "new", kill=True)
        for worker in [one for one in self.workers if one.version == "old"]:
            self.workers.remove(worker)
            assert worker.process.wait(PATIENCE) in (0, 1), worker.said.read_text()
            assert "has changed the run store" not in worker.said.read_text(), worker.said.read_text()
            self.start("new")

    def close(self) -> None:
        """Leave nothing behind."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        self._files.close()

    def calls(self) -> dict[tuple[str, str], list[Call]]:
        """The calls of each item and stage."""
        found: dict[tuple[str, str], dict[str, Call]] = defaultdict(dict)
        for line in self.ledger.read_text().splitlines():
            what, item, stage, pid, token, at = line.split()
            found[item, stage][token] = Call(token, int(pid), float(at) if what == "returned" else None)
        return {key: list(calls.values()) for key, calls in found.items()}

    def check(self) -> str:
        """See that nothing is lost, doubled, or paid twice; tells what was seen.

        Raises:
            AssertionError: Something is.
        """
        for worker in self.workers:
            assert worker.process.wait(PATIENCE) == 0, worker.said.read_text()
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection:
            rows: dict[str, Any] = {row.id: row for row in connection.execute(text("SELECT * FROM bank"))}
            states = connection.execute(text("SELECT state, count(*) FROM rxpipe_items GROUP BY state")).all()
        assert [tuple(one) for one in states] == [("written", self.items)], f"lost, or doubled: {states}"
        assert set(rows) == {str(item) for item in range(self.items)}
        calls, again, late = self.calls(), 0, 0
        for item, row in rows.items():
            tokens = [{one.token for one in calls[item, stage]} for stage in STAGES]
            assert all(token in made for token, made in zip(row.value["calls"], tokens, strict=True)), row
        for made in calls.values():
            for call in made[:-1]:
                again += 1
                assert call.pid in self.killed, f"{call} was made again though nobody killed its worker"
                late += call.returned is not None and self.killed[call.pid] - call.returned > LATE
        assert not late, f"{late} results were lost though they had been there for more than {LATE} s"
        total = sum(map(len, calls.values()))
        return (
            f"{self.items} rows of {self.items} items, {total} calls for {len(calls)}: {again} made again, all of them "
            f"under way, or returned less than {LATE} s before, when their worker was killed"
        )


def unpacked(wheel: str, folder: Path) -> Path:
    """A folder to import the rxpipe of a wheel from."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def schema_of(wheel: Path) -> int:
    """The newest schema that an unpacked wheel knows."""
    program = "from rxpipe.store.schema.migrations import newest_version; print(newest_version())"
    environment = {**os.environ, "PYTHONPATH": str(wheel), "PYTHONSAFEPATH": "1"}
    return int(subprocess.check_output([sys.executable, "-c", program], env=environment, text=True))


def roll(old: str, new: str, url: URL, folder: Path, *, items: int, seconds: float) -> str | None:
    """Go from the old wheel to the new one, and back if there is a way, under load.

    Returns:
        What was seen; None if the new wheel's schema is the older one.
    """
    wheels = {"old": unpacked(old, folder / "old"), "new": unpacked(new, folder / "new")}
    schemas = {version: schema_of(wheel) for version, wheel in wheels.items()}
    if schemas["new"] < schemas["old"]:
        return None
    place = url.render_as_string(hide_password=False)
    upgrade = Upgrade(folder, wheels, place, items, seconds)
    try:
        for _ in range(WORKERS):
            upgrade.start("old")
        if schemas["new"] > schemas["old"]:
            upgrade.migrate(pause=1.0)
        else:
            upgrade.roll("old", "new", pause=1.0)
            upgrade.roll("new", "old", pause=1.0)
        assert all(one.process.poll() is None for one in upgrade.workers), "the run ended too soon: give more --items"
        return upgrade.check()
    finally:
        upgrade.close()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--items", type=int, default=2500)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a call")
    given = parser.parse_args()
    for first, then in ((given.old, given.new), (given.new, given.old)):
        with tempfile.TemporaryDirectory() as folder, own_database(POSTGRES) as url:
            told = roll(first, then, url, Path(folder), items=given.items, seconds=given.seconds)
            if told is not None:
                print(f"{'old, then new' if first == given.old else 'new, then old'}: {told}", flush=True)


if __name__ == "__main__":
    main()
