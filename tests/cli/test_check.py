"""``rxpipe check``: what would run, without running it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rxpipe.config import Config

from .program import SEED, refused, rxpipe, write_config

NEVER = "def work(i): raise AssertionError('called')\ndef ids(): raise AssertionError('called')\n"


def files(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_would_run(folder: Path) -> None:
    """Stages with their settings, strategy, scheduler, source and database."""
    ended = rxpipe("check", SEED)
    assert (ended.code, ended.err) == (0, "")
    lines = [line.rstrip() for line in ended.out.splitlines()]
    assert lines[0].endswith("seed.yaml is valid")
    assert lines[4:6] == [
        "generation  rxpipe.questions.arithmetic:generate     60 s      3     10",
        "answering   rxpipe.questions.arithmetic:answer      120 s      3     10",
    ]
    assert lines[8:] == [
        "name       seed",
        "strategy   per_stage",
        "scheduler  threads",
        "retries    3 attempts, 1, 2 s apart",
        "source     range 1 to 100, 100 IDs",
        "durable    yes, the same command goes on where a run was left",
        "database   sqlite:///seed.db, table results",
    ]


SHAPES = """
from rxpipe import Drop, SendBack

def split(row) -> list[dict]: ...
def embed(rows): ...
def judge(row) -> dict | Drop | SendBack: ...
def vote(children): ...
"""
FLOW = """
source: {range: 3}
stages:
  - {name: splitting, call: "shapes:split", expand: true}
  - {name: embedding, call: "shapes:embed", batch: {max_items: 20, item_rate: 30}, cache: true}
  - {name: judging, call: "shapes:judge", when: {topic: [sums, sets]}, key: topic}
  - {name: again, call: "shapes:judge", max_rounds: 1}
  - {name: voting, call: "shapes:vote", collect: true}
until: 7
"""


def test_the_shape_of_the_flow(folder: Path) -> None:
    """What stages do with items, and how many rows are wanted."""
    (folder / "shapes.py").write_text(SHAPES)
    (folder / "flow.yaml").write_text(FLOW)
    ended = rxpipe("check", "flow.yaml")
    assert ended.code == 0
    assert [line.strip() for line in ended.out.splitlines()[-9:-2]] == [
        "source     range 1 to 3, 3 IDs",
        "flow       splitting: expands an item into many",
        "embedding: batch of up to 20 items, which wait 0.05 s at most, 30 in 1 s; cache: results of earlier runs are "
        "used again",
        "judging: only when topic is sums or sets, others pass; one call at a time for each key, topic; "
        "may drop items; may send items back, 3 times at most",
        "again: may drop items; may send items back, 1 time at most",
        "voting: collects the children that splitting made",
        "until      7 rows written",
    ]


def test_nothing_is_touched(folder: Path) -> None:
    """Neither a stage nor the source is called, and no file appears: no database, no bytecode."""
    write_config(folder, NEVER, source={"call": "MODULE:ids"})
    before = files(folder)
    ended = rxpipe("check", "pipeline.yaml")
    assert ended.code == 0
    assert "source     call stages_" in ended.out
    assert files(folder) == before


def test_query_is_not_run(folder: Path) -> None:
    """A query is shown with its database, without the password, which is not connected to."""
    source = {"sql": "select id\nfrom items", "url": "postgresql://me:s3cret@127.0.0.1:1/bank"}
    ended = rxpipe("check", write_config(folder, NEVER, source=source))
    assert ended.code == 0
    assert "source     sql select id from items on postgresql://me:***@127.0.0.1:1/bank" in ended.out


def test_id_file_is_read(folder: Path) -> None:
    """A file of IDs is counted."""
    Path("ids.txt").write_text("a\nb\n", encoding="utf-8")
    assert (
        "source     file ids.txt, 2 IDs" in rxpipe("check", write_config(folder, NEVER, source={"file": "ids.txt"})).out
    )


def test_file_of_records_is_read(folder: Path) -> None:
    """Records are counted, too."""
    Path("q.csv").write_text("n,topic\n1,a\n2,b\n", encoding="utf-8")
    config = write_config(folder, NEVER, source={"csv": "q.csv", "id": "n"})
    assert "source     csv q.csv, 2 records" in rxpipe("check", config).out


def test_settings_of_per_item(folder: Path) -> None:
    """Slots and queues of stages have no effect there, and are not shown."""
    ended = rxpipe("check", write_config(folder, NEVER, strategy="per_item"))
    assert "strategy   per_item, 3 items at once" in ended.out
    assert "slots" not in ended.out


def test_retries_of_a_stage(folder: Path) -> None:
    """A stage that has retries of its own is named."""
    stages = [{"name": "work", "call": "MODULE:work", "retry": {"max_attempts": 9, "max_delay": 3}}]
    ended = rxpipe("check", write_config(folder, NEVER, stages=stages, pipeline_config={"retry": {"max_attempts": 1}}))
    assert "retries    1 attempt; work: 9 attempts, 1, 2, 3, 3, … s apart" in ended.out


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"source": {"call": "MODULE:nothing"}}, "source.call"),
        ({"source": {"file": "nowhere.txt"}}, "no such file"),
        ({"source": {"sql": "select 1", "url": "nosuch://host/bank"}}, "source.url: nosuch://host/bank: there is no"),
        ({"database": {"url": "oracle+nosuch://host/bank"}}, "database.url: "),
    ],
)
def test_what_would_not_run(folder: Path, keys: dict[str, object], told: str) -> None:
    """Functions, files and drivers that are missing are found."""
    message = refused("check", write_config(folder, NEVER, **keys))
    assert "pipeline.yaml" in message
    assert told in message


def test_schema() -> None:
    """The schema is that of the config."""
    ended = rxpipe("schema")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == Config.model_json_schema()
