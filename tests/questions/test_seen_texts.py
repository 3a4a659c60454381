"""The file of texts: which are alike, who may use it at once, what becomes of other settings."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from rxpipe import StopRun
from rxpipe.questions.seen_texts import Likeness, SeenTexts, close_seen, plain, seen_in

USUAL = Likeness(threshold=0.8, shingle=3)


@pytest.fixture
def path(tmp_path: Path) -> Generator[Path]:
    """A file that is not there yet."""
    yield tmp_path / "seen"
    close_seen()


def words(count: int, seed: object = 0) -> list[str]:
    """Some words."""
    letters = random.Random(str(seed))
    return ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count)]


def similarity(one: str, other: str) -> float:
    a, b = USUAL.shingles(plain(one)), USUAL.shingles(plain(other))
    return len(a & b) / len(a | b)


@pytest.mark.slow
def test_nearly_all_that_are_alike_are_found_and_nothing_else(path: Path) -> None:
    """By the Jaccard index of their shingles, exactly, above the threshold."""
    alike = missed = 0
    seen = seen_in(path, USUAL)
    for seed in range(300):
        text = words(30, seed)
        changed = [*text[: 28 - seed % 4], *words(2 + seed % 4, f"other {seed}")]
        assert seen.keep(f"{seed}", " ".join(text))
        kept = seen.keep(f"{seed} changed", " ".join(changed))
        if similarity(" ".join(text), " ".join(changed)) >= 0.8:
            alike += 1
            missed += kept
        else:
            assert kept
    assert 100 < alike < 250
    assert missed <= alike * 0.03


@pytest.mark.parametrize(
    ("one", "other", "shingle", "kept"),
    [
        (
            "中国的首都是哪座城市\uff0c它有多少人口\uff0c位于哪条河边\uff1f",
            "中国的首都是哪座城市\uff0c它有多少人口\uff0c位于哪条河边",
            2,
            False,
        ),
        (
            "中国的首都是哪座城市\uff0c它有多少人口\uff0c位于哪条河边\uff1f",
            "法国最长的河流叫什么名字\uff0c它流入哪个海洋\uff1f",
            2,
            True,
        ),
        ("\uff37\uff48\uff41\uff54\u3000is it?", "what is  IT?", 3, False),
        ("Why?", "Why?", 9, False),
        ("", "", 3, False),
        ("Why?", "", 3, True),
    ],
)
def test_any_language_and_any_length(path: Path, one: str, other: str, shingle: int, kept: bool) -> None:
    """Also texts that are shorter than a shingle."""
    seen = seen_in(path, Likeness(threshold=0.8, shingle=shingle))
    assert seen.keep("1", one)
    assert seen.keep("2", other) is kept


def test_at_the_highest_threshold_only_the_same_counts(path: Path) -> None:
    """The same shingles, that is."""
    seen = seen_in(path, Likeness(threshold=1, shingle=3))
    assert [seen.keep(str(number), text) for number, text in enumerate(["abcd", "abcde", "ABCD"])] == [
        True,
        True,
        False,
    ]


def test_a_text_that_an_item_no_longer_has_is_forgotten(path: Path) -> None:
    """With all that it was found by; also if the item's new one is dropped."""
    seen = seen_in(path, USUAL)
    one, other = (" ".join(words(9, name)) for name in "ab")
    assert seen.keep("1", one)
    assert seen.keep("1", other)
    assert seen.keep("2", one)
    assert not seen.keep("1", one)
    assert seen.keep("3", other)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(DISTINCT number) FROM bands").fetchone() == (2,)


def test_other_settings_take_the_texts_over(path: Path) -> None:
    """Whoever opens the file with them, and also if both go on."""
    text = words(30)
    near = " ".join([*text[:24], *words(6, "other")])
    usual, loose = seen_in(path, USUAL), seen_in(path, Likeness(threshold=0.5, shingle=3))
    assert usual.keep("1", " ".join(text))
    assert not loose.keep("2", near)
    assert usual.keep("2", near)
    assert not loose.keep("3", near)


def test_a_file_that_was_deleted_is_begun_anew(path: Path) -> None:
    """In the same process, too."""
    assert seen_in(path, USUAL).keep("1", "Why?")
    for one in path.parent.iterdir():
        one.unlink()
    assert seen_in(path, USUAL).keep("2", "Why?")


def test_threads_may_share_a_file(path: Path) -> None:
    """Of each text one item has it."""
    texts = [" ".join(words(9, number)) for number in range(10)]

    def keep(number: int) -> tuple[str, bool]:
        text = texts[number % 10]
        return text, seen_in(path, USUAL).keep(str(number), text)

    with ThreadPoolExecutor(8) as threads:
        kept = [text for text, is_kept in threads.map(keep, range(100)) if is_kept]
    assert sorted(kept) == sorted(texts)


KEEPING = """
import sys
from pathlib import Path
from rxpipe.questions.seen_texts import Likeness, seen_in
for number in range(40):
    kept = seen_in(Path(sys.argv[1]), Likeness(threshold=0.8, shingle=3)).keep(f"{sys.argv[2]}/{number}", "x" * number)
    print(number if kept else "", flush=True)
"""


@pytest.mark.slow
def test_processes_may_share_a_file(path: Path) -> None:
    """Of each text one item has it, whichever process comes first."""
    command = [sys.executable, "-c", KEEPING, str(path)]
    running = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "abc"]
    kept = [line for one in running for line in one.communicate()[0].split()]
    assert [one.returncode for one in running] == [0, 0, 0]
    assert sorted(map(int, kept)) == [0, 1, 2, 3]  # a longer text of one letter has the same shingle as that of three


@pytest.mark.slow
def test_what_was_kept_survives_a_kill(path: Path) -> None:
    """As soon as it was said."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{KEEPING}\nimport time; time.sleep(60)", str(path), "a"],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert [running.stdout.readline().strip() for _ in range(4)] == ["0", "1", "2", "3"]
        running.kill()
    seen = seen_in(path, USUAL)
    assert not seen.keep(json.dumps("b"), "xxx")
    assert seen.keep("a/3", "xxx")


def test_what_is_no_such_file_stops_the_run(tmp_path: Path) -> None:
    """With the file's name."""
    (tmp_path / "text").write_text("This is no database, and it is long enough to be none. " * 10)
    for path in (tmp_path / "text", tmp_path / "missing" / "seen"):
        with pytest.raises(StopRun, match=f"{path.name}: the file of texts that were seen cannot be used"):
            SeenTexts(path, USUAL)
