"""What the document of foresight prints is what rxpipe prints."""

from __future__ import annotations

import re

from rxpipe.insight.interval import Interval
from rxpipe.screen.texts import about

from .blocks import blocks
from .pages import ROOT

DOCUMENT = ROOT / "docs" / "foresight.md"


def printed(begin: str) -> list[str]:
    """What is below a command."""
    (block,) = [one for one in blocks("text", DOCUMENT) if one.text.startswith(f"$ {begin}")]
    return block.text.splitlines()


def test_the_time_left_reads_as_a_run_tells_it() -> None:
    """With its interval, and the cost with its own."""
    _, *lines = printed("rxpipe run bank.yaml")
    assert lines
    for line in lines:
        found = re.search(
            r"cost [\d.]+ of about [\d.]+ \([\d.]+ to [\d.]+\), (about ([\d.]+) s left \((.+) to (.+)\))$", line
        )
        assert found is not None, line
        middle, low, high = map(float, found.groups()[1:])
        assert found[1] == about(Interval(middle=middle, low=low, high=high), " left")
