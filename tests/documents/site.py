"""Builds the site into site/, strictly, and checks it: ``python -m tests.documents.site``.

What Zensical leaves open is done here:

- A link from a page to a file of the repository leads to a copy of the file in ``site/repository/``, as plain text.
- ``llms.txt`` and the Markdown of all pages, which it links to, are part of the site.
- Each link and anchor of each page leads somewhere within the site.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
_LINK = re.compile(r'(?<=\s)(href|src)="([^"]*)"')


def main() -> int:
    """Build and check; returns the exit code."""
    program = Path(sys.executable).with_name("zensical")
    built = subprocess.run([program, "build", "--clean", "--strict"], cwd=ROOT, check=False)
    if built.returncode:
        return built.returncode
    shutil.copy(ROOT / "llms.txt", SITE)
    for path in (ROOT / "docs").rglob("*.md"):
        copy = SITE / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    pages = sorted(SITE.rglob("*.html"))
    for page in pages:
        bring_files(page)
    wrong = [f"{page.relative_to(SITE)}: {link}" for page in pages for link in broken(page)]
    for line in wrong:
        print(f"a link leads nowhere: {line}", file=sys.stderr)
    return 1 if wrong else 0


def bring_files(page: Path, site: Path = SITE, docs: Path = ROOT / "docs") -> None:
    """Point links that leave the site to copies of the files, as the site's root stands for ``docs/``."""

    def inside(link: re.Match[str]) -> str:
        target, _, anchor = link[2].partition("#")
        path = Path(os.path.normpath(page.parent / unquote(target)))
        if not target or _elsewhere(target) or target.startswith("/") or path.is_relative_to(site):
            return link[0]
        file = Path(os.path.normpath(docs / os.path.relpath(path, site)))
        if not file.is_file():
            return link[0]  # told as broken
        copy = site / "repository" / file.relative_to(docs.parent)
        copy = copy.with_name(f"{copy.name}.txt")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
        return f'{link[1]}="{os.path.relpath(copy, page.parent)}{"#" * bool(anchor)}{anchor}"'

    text = page.read_text("utf-8")
    page.write_text(_LINK.sub(inside, text), encoding="utf-8")


def broken(page: Path, site: Path = SITE) -> list[str]:
    """The links of a page that lead nowhere; those to other sites are not followed."""
    found: list[str] = []
    for _, link in _LINK.findall(page.read_text("utf-8")):
        target, _, anchor = link.partition("#")
        if _elsewhere(target):
            continue
        start = site if target.startswith("/") else page.parent  # 404.html is shown in place of any page
        path = Path(os.path.normpath(start / unquote(target.partition("?")[0]).lstrip("/"))) if target else page
        path = path / "index.html" if path.is_dir() else path
        lost = not path.is_relative_to(site) or not path.exists()
        if lost or (anchor and path.suffix == ".html" and unquote(anchor) not in anchors(path)):
            found.append(link)
    return found


def _elsewhere(target: str) -> bool:
    return "://" in target or target.startswith(("mailto:", "data:", "javascript:"))


@cache
def anchors(page: Path) -> set[str]:
    """The places of a page that links may lead to."""
    return set(re.findall(r'\s(?:id|name)="([^"]+)"', page.read_text("utf-8")))


if __name__ == "__main__":
    raise SystemExit(main())
