"""What is sent to systemd's socket, which is a real one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from rxpipe.insight.snapshot import Snapshot
from rxpipe.service.health import HealthWatch, RunHealth
from rxpipe.service.notifying import Notifying
from rxpipe.service.systemd import NotifySocket, status

ALIVE = RunHealth(status="alive", reason="")
STALLED = RunHealth(status="stalled", reason="nothing has happened for 61 s: 1 calls of work run")
DRAINING = RunHealth(status="draining", reason="the run takes no more items, and finishes 1 that it has")
LEFT = "EXTEND_TIMEOUT_USEC=30000000"

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no unix sockets")


class Manager:
    """A service manager, and the time."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.seconds = 0.0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(5)

    def received(self) -> list[str]:
        """The lines of one datagram."""
        return self.socket.recv(4096).decode().split("\n")

    def heard_nothing(self) -> bool:
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(5)

    def notifying(self, watchdog: float | None, health: HealthWatch | None = None) -> Notifying:
        return Notifying(NotifySocket(self.path, watchdog), health or HealthWatch(), now=lambda: self.seconds)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.socket.close()


def test_a_run_that_goes_well(manager: Manager) -> None:
    """Ready once, a sign of life at half of the time, and the end."""
    notifying = manager.notifying(4.0)
    assert notifying.seconds == 2.0
    notifying.begin()
    assert manager.received() == ["READY=1", "STATUS=running"]
    notifying.begin()
    notifying.tick(ALIVE)
    assert manager.received() == ["STATUS=alive", "WATCHDOG=1"]
    manager.seconds += 1.9
    notifying.tick(ALIVE)
    assert manager.heard_nothing()
    manager.seconds += 0.2
    notifying.tick(ALIVE)
    assert manager.received() == ["STATUS=alive", "WATCHDOG=1"]
    notifying.end()
    assert manager.received() == ["STOPPING=1"]


def test_a_stalled_run_gives_no_sign_of_life(manager: Manager) -> None:
    """Its status says at once why; and it lives again."""
    notifying = manager.notifying(4.0)
    notifying.begin()
    notifying.tick(ALIVE)
    for _ in range(2):
        manager.received()
    notifying.tick(STALLED)
    assert manager.received() == [f"STATUS=stalled: {STALLED.reason}"]
    notifying.tick(ALIVE)
    assert manager.received() == ["STATUS=alive", "WATCHDOG=1"]


def test_draining_gets_more_time_while_it_gets_on(manager: Manager) -> None:
    """Again and again; not if it is stalled."""
    health = HealthWatch()
    notifying = manager.notifying(None, health)
    notifying.begin()
    manager.received()
    health.drain()
    notifying.tick(DRAINING)
    told = f"STATUS=draining: {DRAINING.reason}"
    assert manager.received() == [told, "STOPPING=1", LEFT]
    manager.seconds += notifying.seconds
    notifying.tick(DRAINING)
    assert manager.received() == [told, LEFT]
    notifying.tick(STALLED)
    assert manager.received() == [f"STATUS=stalled: {STALLED.reason}"]
    notifying.end()
    assert manager.heard_nothing()


def test_starting_gets_more_time(manager: Manager) -> None:
    """A large store may take a while to open; nothing is said of life before the run has begun."""
    manager.notifying(4.0).tick(RunHealth(status="starting", reason="no run has begun"))
    assert manager.received() == ["STATUS=starting: no run has begun", LEFT]


def test_the_status_has_counts(manager: Manager) -> None:
    """On one line."""
    health = HealthWatch()
    health.latest = Snapshot(at=0, elapsed=0, stages=(), written=7, failed=1, in_flight=2)
    manager.notifying(None, health).tick(ALIVE)
    assert manager.received()[0] == "STATUS=alive (7 written, 1 failed, 2 in flight)"
    assert status("a\nb=c") == "STATUS=a b=c"


def test_an_abstract_name() -> None:
    """As of containers."""
    if not os.path.exists("/proc"):
        pytest.skip("abstract names are Linux's")
    name = f"rxpipe-{uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        receiver.settimeout(5)
        NotifySocket(f"@{name}").send("READY=1")
        assert receiver.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    """There is nobody to tell."""
    NotifySocket(str(tmp_path / "gone")).send("READY=1")


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "vsock:2:9000"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, NotifySocket("/run/n")),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "20000000"}, NotifySocket("@n", 20.0)),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, NotifySocket("@n")),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "2e6"}, NotifySocket("@n")),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "5", "WATCHDOG_PID": str(os.getpid())}, NotifySocket("@n", 5e-6)),
    ],
)
def test_the_environment(environment: dict[str, str], found: NotifySocket | None) -> None:
    """A watchdog may be another process's."""
    assert NotifySocket.from_environment(environment) == found
