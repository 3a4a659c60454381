"""What is said of records, stages that expand and the like, and columns that a config has and that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusing import Refused, refusing

from rxpipe.config import load_config

BATCH = "allowed: a whole number, 1 or more, or a mapping with the keys max_items, max_seconds, item_rate"
ITEM_RATE = "allowed: values a second, a whole number, or a mapping with the keys limit, seconds, burst"
COUNT = "allowed: a whole number, 1 or more"
DELIMITER = "allowed: one character that is no quote, space or line end, like ; or \\t"
ENCODING = "allowed: the name of an encoding, like utf-8, utf-16, gb18030 or latin-1"
ENDS = "allowed: written, failed, dropped, expanded or collected"
PATH = (
    "allowed: a path into the value, like score, answer.text or tags.0; or record.FIELD, id, status, error and the like"
)
TEXT = "allowed: text that is not blank"
WHEN = "allowed: a function as module:function, or a mapping of the value's fields to what they must be"


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Has a config refused, and gives the message."""
    return refusing(tmp_path)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("{csv: a.csv}", "", "given csv without id; needed: the field that is the ID, or id: hash"),
        ("{rows: [{a: 1}]}", "", "given rows without id; needed: the field that is the ID, or id: hash"),
        ("{rows: [3], id: a}", ".rows[0]", "given 3; allowed: a mapping"),
        ("{rows: [{1: 2}], id: a}", ".rows[0][1]", f"given the key 1; {TEXT}"),
        ("{range: 3, id: a}", ".id", "given beside range; allowed: beside rows, csv, jsonl, parquet, sql or call only"),
        ("{jsonl: a.jsonl, id: a, delimiter: ';'}", ".delimiter", "given beside jsonl; allowed: beside csv only"),
        (
            "{parquet: a, id: a, encoding: utf-8}",
            ".encoding",
            "given beside parquet; allowed: beside csv or jsonl only",
        ),
        ("{csv: a, id: a, encoding: utf-9}", ".encoding", f"given the text 'utf-9'; {ENCODING}"),
        ("{csv: a, id: a, encoding: base64}", ".encoding", f"given the text 'base64'; {ENCODING}"),
        ("{csv: a, id: a, delimiter: ', '}", ".delimiter", f"given the text ', '; {DELIMITER}"),
        (
            "{csv: a, id: a, on_change: kep}",
            ".on_change",
            "given the text 'kep'; did you mean 'keep'? allowed: keep, redo or fail",
        ),
    ],
)
def test_wrong_sources_of_records(refused: Refused, text: str, key: str, message: str) -> None:
    """A record has an ID, and a kind of source the keys that fit it."""
    assert refused(f"source: {text}") == f"pipeline.yaml, line 1: source{key}: {message}"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("{name: b, call: 'm:f', when: check}", ".when", f"given the text 'check'; {WHEN}"),
        ("{name: b, call: 'm:f', when: {}}", ".when", f"given a mapping {{}}; {WHEN}"),
        ("{name: b, call: 'm:f', key: ''}", ".key", f"given the text ''; {TEXT}"),
        ("{name: b, call: 'm:f', batch: 0}", ".batch", f"given 0; {BATCH}"),
        ("{name: b, call: 'm:f', batch: true}", ".batch", f"given true; {BATCH}"),
        ("{name: b, call: 'm:f', batch: {max_items: 0}}", ".batch.max_items", f"given 0; {COUNT}"),
        ("{name: b, call: 'm:f', batch: {item_rate: 0}}", ".batch.item_rate", f"given 0; {ITEM_RATE}"),
        ("{name: b, call: 'm:f', batch: {item_rate: {limit: 0}}}", ".batch.item_rate.limit", f"given 0; {COUNT}"),
        ("{name: b, call: 'm:f', expand: 3}", ".expand", "given 3; allowed: true or false"),
        ("{name: b, call: 'm:f', max_rounds: -1}", ".max_rounds", "given -1; allowed: a whole number, 0 or more"),
        (
            "{name: b, call: 'm:f', batch: 3, expand: true}",
            ".batch",
            "given beside expand; allowed: in a stage without expand and collect",
        ),
        (
            "{name: b, call: 'm:f', collect: true}",
            ".collect",
            "given true; allowed: behind a stage with expand, which no other one collects",
        ),
    ],
)
def test_wrong_stages_of_a_flow(refused: Refused, text: str, key: str, message: str) -> None:
    """A stage is named by its place in the list."""
    expected = f"pipeline.yaml, line 3: stages[1]{key}: {message}"

    assert refused(f"stages:\n  - {{name: a, call: 'm:f'}}\n  - {text}") == expected


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("database: {rows: [cancelled]}", "database.rows[0]", f"given the text 'cancelled'; {ENDS}"),
        ("database: {columns: {id: id, a: a..b}}", "database.columns.a", f"given the text 'a..b'; {PATH}"),
        (
            "database: {columns: {a: a}}",
            "database.columns",
            "no column has the ID, by which a row is found again; needed: one that is id, such as {id: id}",
        ),
        ("until: 0", "until", f"given 0; {COUNT}"),
        ("max_cost: 0", "max_cost", "given 0; allowed: a number above 0"),
        ("max_cost: .inf", "max_cost", "given .inf; allowed: a number above 0"),
        (
            "{until: 3, strategy: staged}",
            "until",
            "given beside strategy staged, which takes all items first; allowed: with per_stage or per_item",
        ),
    ],
)
def test_wrong_keys_of_the_database(refused: Refused, text: str, key: str, message: str) -> None:
    """They are told the same way."""
    assert refused(text) == f"pipeline.yaml, line 1: {key}: {message}"


EXPANDING = "{name: a, call: 'm:f', expand: true}"


@pytest.mark.parametrize(
    ("stages", "more", "messages"),
    [
        ([EXPANDING, "{name: b, call: 'm:f', collect: true}"], "", []),
        (
            [EXPANDING, EXPANDING.replace("a,", "b, collect: true,"), "{name: c, call: 'm:f', collect: true}"],
            "",
            [],
        ),
        (
            [EXPANDING, "{name: b, call: 'm:f', collect: true, when: {a: 1}, key: a}"],
            "",
            [
                "stages[1].when: given beside collect; allowed: in a stage that collects nothing",
                "stages[1].key: given beside collect; allowed: in a stage that collects nothing",
            ],
        ),
        (
            [EXPANDING, "{name: b, call: 'm:f', collect: true}", "{name: c, call: 'm:f', collect: true}"],
            "",
            ["stages[2].collect: given true; allowed: behind a stage with expand, which no other one collects"],
        ),
        (
            [EXPANDING, "{name: b, call: 'm:f', collect: true, batch: 3}"],
            "",
            ["stages[1].batch: given beside collect; allowed: in a stage without expand and collect"],
        ),
        (
            [EXPANDING],
            "strategy: staged",
            [
                "stages[0].expand: given true; allowed: another strategy than staged, in which no stage expands "
                "or collects"
            ],
        ),
        (
            ["{name: a, call: 'm:f', cache: true}"],
            "database: {durable: false}",
            ["stages[0].cache: given true; allowed: false, where no results are kept"],
        ),
        (
            ["{name: a, call: 'm:f', cache: true}"],
            "strategy: staged",
            ["stages[0].cache: given true; allowed: false, where no results are kept"],
        ),
        (
            ["{name: a, call: 'm:f', expand: true, cache: true}", "{name: b, call: 'm:f', collect: true, cache: true}"],
            "",
            [
                "stages[0].cache: given beside expand; allowed: in a stage without expand and collect",
                "stages[1].cache: given beside collect; allowed: in a stage without expand and collect",
            ],
        ),
        (
            ["{name: a, call: 'm:f'}"],
            "database: {durable: false}\nsource: {csv: a.csv, id: a, on_change: redo}",
            [
                "source.on_change: given the text 'redo'; allowed: keep, where no progress is kept: there is nothing "
                "to compare a record with"
            ],
        ),
    ],
)
def test_keys_of_the_dataflow_that_do_not_fit_together(
    tmp_path: Path, refused: Refused, stages: list[str], more: str, messages: list[str]
) -> None:
    """They are compared when the config is loaded, and each contradiction is one line."""
    text = "\n".join(["stages:", *(f"  - {stage}" for stage in stages), more])
    if not messages:
        (tmp_path / "pipeline.yaml").write_text(text)
        load_config(tmp_path / "pipeline.yaml")
    else:
        assert [line.partition(": ")[2] for line in refused(text).splitlines()] == messages
