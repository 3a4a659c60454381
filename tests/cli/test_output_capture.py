"""What is printed while a view is on the screen."""

from __future__ import annotations

import logging
import sys
import threading
from io import StringIO

import pytest

from rxpipe.screen.output_capture import OutputCapture


def test_lines_are_whole() -> None:
    """A line is there when it has ended, however many writes it took."""
    above = OutputCapture(StringIO())
    assert above.write("one ") == 4
    above.writelines(["line\n", "another\nand"])
    assert above.take() == ["one line", "another"]
    assert above.take() == []
    assert above.take(all_of_it=True) == ["and"]


def test_threads_do_not_mix() -> None:
    """What several threads print at once stays apart."""
    above = OutputCapture(StringIO())
    above.write("mine, ")
    other = threading.Thread(target=print, args=("other",), kwargs={"file": above})
    other.start()
    other.join()
    above.write("all mine\n")
    assert above.take() == ["other", "mine, all mine"]


def test_progress_bars() -> None:
    """Of a line that is written again and again the last counts; it is no terminal to draw on."""
    above = OutputCapture(StringIO())
    above.write("10%\r20%\r30%\r\n")
    assert above.take() == ["30%"]
    assert not above.isatty()


def test_endless_line() -> None:
    """A line that does not end does not grow without bound."""
    above = OutputCapture(StringIO())
    above.write("x" * 100_000)
    assert above.take() == ["x" * 100_000]


def test_everything_else_is_the_streams() -> None:
    """Whoever asks for the encoding and the like is told that of the stream."""
    stream = StringIO()
    assert OutputCapture(stream).getvalue() == ""
    with pytest.raises(AttributeError):
        OutputCapture(stream).nothing  # noqa: B018 - asking is the test


def test_streams_and_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the place of both streams, also where a handler holds one, and gives it back."""
    out, err = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    above = OutputCapture(err)
    try:
        above.install()
        print("printed")
        logging.getLogger().warning("logged")
        above.remove()
        logging.getLogger().warning("later")
    finally:
        logging.getLogger().removeHandler(handler)
    assert above.take() == ["printed", "logged"]
    assert (sys.stdout, sys.stderr) == (out, err)
    assert (out.getvalue(), err.getvalue()) == ("", "later\n")
