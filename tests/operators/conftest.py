from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest
from operator_helpers import LIMIT, Hanging


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Fails a test that leaves threads of rxpipe's, or pending tasks that a loop was closed upon."""
    before = set(threading.enumerate())
    complaints = _Complaints()
    logging.getLogger("asyncio").addHandler(complaints)
    try:
        yield
    finally:
        logging.getLogger("asyncio").removeHandler(complaints)
    until = time.monotonic() + LIMIT
    left = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("rxpipe-")]
    for thread in left:
        getattr(thread, "_started").wait(LIMIT)  # noqa: B009 - one that is just being started cannot be joined yet
        thread.join(max(0.0, until - time.monotonic()))
    assert [thread.name for thread in left if thread.is_alive()] == []
    assert complaints.texts == []


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of the errors that nobody took, and that were therefore reported as those that end a thread are."""
    texts: list[str] = []

    def hook(args: threading.ExceptHookArgs) -> None:
        texts.append(str(args.exc_value))

    monkeypatch.setattr(threading, "excepthook", hook)
    return texts


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    function = Hanging()
    yield function
    function.release(*range(100))
    function.gauge.wait_for(0)


class _Complaints(logging.Handler):
    """Keeps what asyncio reports as errors, such as a pending task destroyed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
