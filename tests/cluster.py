"""A PostgreSQL server of the tests' own, which may be stopped.

It is faster than a usual server, since nothing needs to reach the disk: tests stop the server, never the machine. Each
index that is made would wait for the disk, and each test makes some twenty of them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 60  # seconds that it may take to start or stop


class Cluster:
    """A server that listens on a Unix socket, or on a port of the loopback.

    Attributes:
        url: Its database.
    """

    def __init__(self, programs: Path, directory: Path, user: str | None, *, port: int | None = None) -> None:
        """Describe it; ``make`` makes it."""
        place = f"/postgres?host={directory}&port=54321" if port is None else f"127.0.0.1:{port}/postgres"
        self.url = f"postgresql+psycopg://postgres@{place}"
        self._programs = programs
        self._directory = directory
        self._data = directory / "data"
        self._user = user
        self._port = port

    def make(self) -> None:
        """Make its files."""
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8")
        settings = {
            "listen_addresses": "" if self._port is None else "127.0.0.1",
            "port": self._port or 54321,
            "unix_socket_directories": self._directory,
            "fsync": "off",
            "full_page_writes": "off",
            "autovacuum": "off",  # it would run beside tests of what statements read
            "shared_buffers": "16MB",  # all of it is searched whenever a table or database is dropped
        }
        with open(self._data / "postgresql.conf", "a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "start", "-w", "-t", PATIENCE, "-D", self._data, "-l", self._directory / "log")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``immediate`` is as if it had crashed."""
        self._run("pg_ctl", "stop", "-w", "-t", PATIENCE, "-m", mode, "-D", self._data)

    @property
    def is_running(self) -> bool:
        """Whether it is."""
        return (self._data / "postmaster.pid").exists()

    def _run(self, program: str, *arguments: Any) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        if self._user is not None:
            command = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups", "--", *command]
        with tempfile.TemporaryFile() as output:  # no pipe, which the server would keep open
            code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._directory)
            output.seek(0)
            assert code == 0, f"{program}: {output.read().decode(errors='replace')}"


def why_none() -> str | None:
    """Why there can be no server of a test's own; None if there can."""
    if programs() is None:
        return "no initdb and pg_ctl of PostgreSQL found"
    if os.geteuid() == 0 and (_user() is None or not shutil.which("setpriv")):
        return "PostgreSQL does not run as root, and there is no user postgres, or no setpriv"
    return None


@contextmanager
def own_cluster(*, tcp: bool = False) -> Generator[Cluster]:
    """A running server, with nothing in it; gone afterwards.

    Args:
        tcp: Whether it listens on a port of the loopback, instead of a Unix socket.
    """
    found = programs()
    assert found is not None
    # Not below pytest's directories, which other users cannot enter.
    directory = Path(tempfile.mkdtemp(prefix="rxpipe-pg-"))
    user = _user() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(directory, user)
    cluster = Cluster(found, directory, user, port=_free_port() if tcp else None)
    try:
        cluster.make()
        cluster.start()
        yield cluster
    finally:
        if cluster.is_running:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


def programs() -> Path | None:
    """Where the server's programs are: those of ``pg_config``, or of the newest version that Debian has installed."""
    places: list[Path] = []
    if shutil.which("pg_config"):
        told = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        places.append(Path(told.stdout.strip()))
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    places += sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    return next((path for path in places if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _user() -> str | None:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None
