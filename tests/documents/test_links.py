"""Links and anchors of documents lead somewhere: in the repository, and on the site."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from . import site
from .pages import DOCS, ROOT

DOCUMENTS = [
    *sorted(ROOT.glob("README*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "llms.txt",
    *sorted(DOCS.rglob("*.md")),
]


@cache
def links_and_anchors(path: Path) -> tuple[list[str], list[str]]:
    """The targets of links and pictures, and what headings are called in links, as GitHub and the site do it."""
    links: list[str] = []
    anchors: list[str] = []
    tokens = MarkdownIt().parse(path.read_text("utf-8"))
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            title = "".join(part.content for part in inline.children or [] if part.type in ("text", "code_inline"))
            anchors.append(re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"))
    for part in (part for token in tokens for part in token.children or []):
        target = part.attrs.get("href", part.attrs.get("src"))
        links += [str(target)] if target is not None else []
    return links, anchors


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    """To a file of the project, and to a heading in it that no other heading is called like."""
    for target in links_and_anchors(path)[0]:
        file, _, anchor = unquote(target).partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        other = path.parent / file if file else path
        assert other.exists(), f"{target}: no such file"
        assert other.resolve().is_relative_to(ROOT), f"{target}: not in the repository"
        if path.is_relative_to(DOCS) and not other.resolve().is_relative_to(DOCS):
            assert other.is_file(), f"{target}: link to a file, as the site has no folders"
        if anchor and other.suffix == ".md":
            assert links_and_anchors(other)[1].count(anchor) == 1, f"{target}: not one heading of this name"


def test_the_site_has_files_of_the_repository_and_tells_broken_links(tmp_path: Path) -> None:
    """A link out of it leads to a copy; one to nothing is told, and so is an anchor that is not there."""
    root, docs = tmp_path / "site", tmp_path / "docs"
    page, other = root / "guide" / "index.html", root / "other" / "index.html"
    for path in (page, other):
        path.parent.mkdir(parents=True)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "flow.py").write_text("print()", encoding="utf-8")
    other.write_text('<h2 id="there"></h2>', encoding="utf-8")
    page.write_text(
        '<a href="../../examples/flow.py"> <a href="../../examples/none.py"> <a href="../other/#there"> '
        '<a href="../other/#gone"> <a href="https://elsewhere/"> <a href="../none/"> <a href="/other/">',
        encoding="utf-8",
    )
    site.bring_files(page, root, docs)
    assert (root / "repository" / "examples" / "flow.py.txt").read_text("utf-8") == "print()"
    assert site.broken(page, root) == ["../../examples/none.py", "../other/#gone", "../none/"]
