"""Libraries of others in the page: what they are is written beside them."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

STATIC = Path(str(files("rxpipe.web") / "static"))
TOLD = (STATIC / "VENDORED.md").read_text("utf-8")


def test_each_file_has_its_hash() -> None:
    """So that nobody changes one by the way."""
    told = {name: hash_ for hash_, name in re.findall(r"^([0-9a-f]{64}) +(\S+)$", TOLD, re.MULTILINE)}
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (STATIC / "vendor").iterdir()}
    assert found == told


def test_each_library_has_its_size_and_its_licence() -> None:
    """As the table says."""
    rows = re.findall(r"^\| `([\w.-]+)` \|.*`(LICENSE\.\w+)`\) \| ([\d,]+) \|", TOLD, re.MULTILINE)
    assert {name for name, _, _ in rows} == {file.name for file in (STATIC / "vendor").glob("*s")} - {"LICENSE.preact"}
    for name, licence, size in rows:
        assert (STATIC / "vendor" / name).stat().st_size == int(size.replace(",", ""))
        assert (STATIC / "vendor" / licence).is_file()


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """It works without a network."""
    for file in [*STATIC.glob("*.js"), *STATIC.glob("*.html"), *STATIC.glob("*.css")]:
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|url\((?!#)|@import", text), file


def test_the_page_sets_no_html() -> None:
    """Texts become text nodes."""
    for file in STATIC.glob("*.js"):
        text = file.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerously|\beval\b", text), file


def test_the_page_has_nothing_inline() -> None:
    """The policy would refuse it."""
    for file in STATIC.glob("*.html"):
        text = file.read_text("utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), file
