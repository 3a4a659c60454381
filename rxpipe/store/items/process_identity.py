"""Finds out if another worker's process is certainly gone, so that its items need not wait for its lease to run out.

Only Linux tells enough: a process is identified by the machine's boot, its PID namespace, its number and its start.
Elsewhere nothing is certain, and the lease decides.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_START = 19  # the field of ``stat``, from the state on, that tells when the process started


def this_process() -> str | None:
    """Returns a text that identifies this process; None if the system does not tell."""
    place, started = _place(), _started(os.getpid())
    return None if place is None or started is None else f"{place} {os.getpid()} {started}"


def is_gone(process: str | None) -> bool:
    """Returns True if the process with this identity certainly runs no more."""
    place = _place()
    if process is None or place is None:
        return False
    there, number, started = process.rsplit(" ", 2)
    return there == place and _has_ended(int(number), started)


def is_running(process: str | None) -> bool:
    """Returns True if the process with this identity certainly runs on this machine."""
    place = _place()
    if process is None or place is None:
        return False
    there, number, started = process.rsplit(" ", 2)
    return there == place and _started(int(number)) == started


def _has_ended(pid: int, started: str) -> bool:
    fields = _fields(pid)
    if fields is not None:
        return _is_over(fields) or fields[_START] != started
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False  # it is hidden: another user's, or another service's, as by ProtectProc= of systemd


def _place() -> str | None:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """Returns when a process started, in ticks since the boot; None if there is no such process, or it has ended."""
    fields = _fields(pid)
    return None if fields is None or _is_over(fields) else fields[_START]


def _fields(pid: int) -> list[str] | None:
    """Returns the fields of ``stat`` from the state on; None if there is no such process, or it is hidden."""
    try:
        # The name in front may hold any character, but the last parenthesis ends it.
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _is_over(fields: list[str]) -> bool:
    return fields[0] in "ZX"  # a zombie, or dead
