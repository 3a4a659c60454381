"""The script that makes the pictures still works, and those that are shown are those that it makes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from web.browser.visits import in_browser

from .pages import ROOT

PICTURES = ROOT / "docs" / "pictures"
README = [ROOT / "README.md", ROOT / "README.zh.md"]


@pytest.mark.parametrize("path", README, ids=lambda path: path.name)
def test_pictures_that_are_shown_are_there(path: Path) -> None:
    """Each of a screen, a page and a comparison, in both schemes, with words for those who cannot see it."""
    text = path.read_text("utf-8")
    shown = set(re.findall(r"docs/pictures/([\w-]+\.(?:png|svg))", text))
    kinds = {f"{name}-{scheme}.png" for name in ("page", "compare") for scheme in ("light", "dark")}
    assert shown == {"screen.svg", *kinds}
    assert [name for name in shown if not (PICTURES / name).is_file()] == []
    told = [*re.findall(r'<img [^>]*alt="([^"]*)"', text), *re.findall(r"!\[([^\]]*)\]", text)]
    assert len(told) == 3
    assert min(map(len, told)) >= 20


class TestScript:
    """Of a run of a few questions without waits."""

    pytestmark = in_browser

    def test_it_makes_all_of_them(self, tmp_path: Path) -> None:
        """And none of them asks any server for anything."""
        command = [sys.executable, str(PICTURES / "make.py"), "--to", str(tmp_path), "--fast", "--count", "40"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert {path.name for path in PICTURES.glob("*.[ps][nv]g")} == made.keys()
        drawn = made.pop("screen.svg").decode()
        assert "answering" in drawn
        assert set(re.findall(r"https?://[\w.]+", drawn)) <= {"http://www.w3.org"}
        assert all(picture.startswith(b"\x89PNG") and len(picture) > 10_000 for picture in made.values())
