"""llms.txt (llmstxt.org): what the documents are, for language models, from the nav of the site."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def nav() -> list[dict[str, Any]]:
    """The nav, as it stands in zensical.toml."""
    found: list[dict[str, Any]] = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]
    return found


def files(entries: Any) -> Iterator[tuple[str, str]]:
    """Title and file of each page, in order."""
    for entry in entries:
        if isinstance(entry, str):  # the index of a section, which is called as it calls itself
            heading = re.search(r"^# (.+)$", (ROOT / "docs" / entry).read_text("utf-8"), re.MULTILINE)
            yield heading[1] if heading else entry, entry
            continue
        for title, inner in entry.items():
            if isinstance(inner, str):
                yield title, inner
            else:
                yield from files(inner)


def text(generated: Mapping[str, str]) -> str:
    """The text; pages that are being generated are read from there."""
    project: dict[str, Any] = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]
    lines = [f"# {project['site_name']}", "", f"> {project['site_description']}", ""]
    alone = [entry for entry in nav() if isinstance(next(iter(entry.values())), str)]
    groups = [
        ("Start", alone),
        *((title, inner) for entry in nav() if entry not in alone for title, inner in entry.items()),
    ]
    for title, entries in groups:
        lines += [f"## {title}", ""]
        lines += [f"- [{name}](docs/{file}): {_first(file, generated)}" for name, file in files(entries)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _first(file: str, generated: Mapping[str, str]) -> str:
    """The first sentence of a page's first paragraph of prose; the link to its other language is none."""
    path = f"docs/{file}"
    page = generated.get(path) or (ROOT / path).read_text("utf-8")
    page = re.sub(
        r"<!--.*?-->|^```.*?^```|^---\n.*?^---\n|^\[(?:English|中文)\]\([^)]*\)$",
        "",
        page,
        flags=re.DOTALL | re.MULTILINE,
    )
    prose = [part for part in re.split(r"\n\s*\n", page) if re.match(r"[\w`*\[\"]", part.lstrip("\n"))]
    first = " ".join(prose[0].split()) if prose else ""
    first = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", first).removeprefix("**Context.** ")
    return re.split(r"(?<=[.。!?])(?:\s|(?<=。))", first)[0]
