"""Code in new pages works as it is printed; see pages.py for how."""

from __future__ import annotations

from pathlib import Path

import pytest

from .pages import DOCS, Page, pages


@pytest.mark.slow
@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_a_page_runs_as_printed(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    Page(path, monkeypatch).run()


def run(text: str, folder: Path, patch: pytest.MonkeyPatch) -> Page:
    """Run a page with a text."""
    patch.chdir(folder)
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    page = Page(path, patch)
    page.run()
    return page


def test_blocks_share_names_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python runs on from block to block, with modules that the page wrote, and what they print is compared."""
    text = """
```python
# file: mine.py
def double(number):
    return number * 2
```

<!-- file: data/one.csv -->

```csv
id
17
```

<!-- invisible-code: python
start = 20
-->

```python
from mine import double
```

```python
print(double(start) + 2, "and more")
```

<!-- output -->
```text
42 ...
```

```sh
$ cat data/one.csv
```

<!-- output -->
```text
id
17
```
"""
    assert run(text, tmp_path, monkeypatch).printed == "id\n17\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```\n", "printed is"),
        ("```sh\nrxpipe check nothing.yaml\n```\n", "ended with"),
        ("```sh\nrxpipe --help\nrm -r *\n```\n", "is not run by tests"),
        ("```yaml\nname: x\n```\n", "needs a first line"),
        ("<!-- not run: -->\n```sh\nrxpipe --help\n```\n", "needs a reason"),
        ("```python\n1 / 0\n```\n", "division"),
    ],
    ids=["output", "exit code", "command", "config", "reason", "raises"],
)
def test_what_is_wrong_fails(text: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of mistake."""
    with pytest.raises((AssertionError, ValueError, ZeroDivisionError), match=error):
        run(text, tmp_path, monkeypatch)


def test_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exit code that is told, and a block that is not run."""
    text = (
        "<!-- exit code: 2 -->\n```sh\nrxpipe check nothing.yaml\n```\n\n"
        "<!-- not run: it would go on for ever -->\n```sh\nrxpipe run for_ever.yaml\n```\n"
    )
    assert "nothing.yaml" in run(text, tmp_path, monkeypatch).printed
