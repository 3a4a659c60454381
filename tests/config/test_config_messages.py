"""What is said of a config that cannot be used: the file, line, key and value, and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusing import Refused, refusing

TOP = "name, pipeline_config, source, stages, providers, limits, database, output, strategy, until, max_cost, scheduler"
SHARED = "parallel_pipelines, timeouts, queue_sizes, retry, grace"
RETRY = "max_attempts, backoff_factor, initial, max_delay, jitter, retry_on"
SOURCE = "range, rows, file, csv, jsonl, parquet, sql, call, id, on_change, delimiter, encoding, url"
STAGE = (
    "name, call, with, when, key, expand, collect, batch, max_rounds, cache, concurrency, executor, timeout, "
    "queue_size, rate_limit, max_abandoned, version, retry"
)
COUNT = "allowed: a whole number, 1 or more"
CONCURRENCY = "allowed: a whole number, 1 or more; auto; or least-start-most, like 5-20-100"
SECONDS = "allowed: a number of seconds above 0"
RANGE = "allowed: a count of 1 or more, [start, stop], [start, stop, step] or a mapping of them"
NO_RANGE = "allowed: a range with at least one ID in it, and a step that is not 0"
URL = "allowed: a database URL, like sqlite:///questions.db or postgresql+psycopg://user@host/name"
CALL = "allowed: a function as module:function, like my_stages:generate"
NAME = "allowed: a name: text on one line, with no space around it"
KINDS = "allowed: one of range, rows, file, csv, jsonl, parquet, sql, call"
TEXT = "allowed: text that is not blank"
PIPELINE_NAME = "allowed: a name: text on one line, of at most 255 characters, with no space around it"
LIMITS = "allowed: a mapping with the keys requests_per_minute, tokens_per_minute, shared"
SOME_LIMIT = "allowed: requests_per_minute, tokens_per_minute or both; or shared, the name of other limits"
ERROR_KINDS = "allowed: rate_limited, transient, invalid_output, refused, permanent or error"
STRATEGY = "allowed: per_stage, per_item or staged"
NULL = "given nothing (null); allowed: a value, or leave the key out for its default"
TAB = "a tab; YAML forbids tabs for indentation: use spaces"
HUGE = "0x" + "f" * 5000


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Has a config refused, and gives the message."""
    return refusing(tmp_path)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("parallel_pipelines: 0", ".parallel_pipelines", f"given 0; {COUNT}"),
        ("parallel_pipelines: -2", ".parallel_pipelines", f"given -2; {COUNT}"),
        ("parallel_pipelines: '3'", ".parallel_pipelines", f"given the text '3'; {COUNT}"),
        ("parallel_pipelines: 3.0", ".parallel_pipelines", f"given 3.0; {COUNT}"),
        ("parallel_pipelines: yes", ".parallel_pipelines", f"given true; {COUNT}"),
        ("parallel_pipelines: ", ".parallel_pipelines", NULL),
        ("timeouts: {generation: -5}", ".timeouts.generation", f"given -5; {SECONDS}"),
        ("timeouts: {generation: 0}", ".timeouts.generation", f"given 0; {SECONDS}"),
        ("timeouts: {generation: .nan}", ".timeouts.generation", f"given .nan; {SECONDS}"),
        ("timeouts: {generation: .inf}", ".timeouts.generation", f"given .inf; {SECONDS}"),
        ("timeouts: {generation: true}", ".timeouts.generation", f"given true; {SECONDS}"),
        ("timeouts: {generation: 60s}", ".timeouts.generation", f"given the text '60s'; {SECONDS}"),
        ("timeouts: {generation: [1]}", ".timeouts.generation", f"given a list [1]; {SECONDS}"),
        (
            f"timeouts: {{generation: {HUGE}}}",
            ".timeouts.generation",
            f"given a number of thousands of digits; {SECONDS}",
        ),
        ("timeouts: 60", ".timeouts", "given 60; allowed: a mapping"),
        ("timeouts: {1: 60}", ".timeouts[1]", f"given the key 1; {NAME}"),
        (
            "timeouts: {grding: 3}",
            ".timeouts.grding",
            "no stage has this name; did you mean 'grading'? allowed: generation, answering, grading",
        ),
        (
            "queue_sizes: {x: 3}",
            ".queue_sizes.x",
            "no stage has this name; allowed: generation, answering, grading",
        ),
        ("queue_sizes: {grading: 0}", ".queue_sizes.grading", f"given 0; {COUNT}"),
        ("queue_sizes: {grading: 1.5}", ".queue_sizes.grading", f"given 1.5; {COUNT}"),
        ("retry: {max_attempts: 0}", ".retry.max_attempts", f"given 0; {COUNT}"),
        ("retry: {backoff_factor: 0.5}", ".retry.backoff_factor", "given 0.5; allowed: a number, 1 or more"),
        ("retry: {jitter: 1.5}", ".retry.jitter", "given 1.5; allowed: a number from 0 to 1"),
        ("retry: {jitter: .nan}", ".retry.jitter", "given .nan; allowed: a number from 0 to 1"),
        ("retry: {initial: -1}", ".retry.initial", "given -1; allowed: a number of seconds, 0 or more"),
        ("retry: {initial: 90}", ".retry.initial", "given 90; allowed: max_delay, which is 60, or less"),
        ("retry: {max_delay: 0.5}", ".retry.max_delay", "given 0.5; allowed: initial, which is 1, or more"),
        (
            "retry: {attempts: 3}",
            ".retry.attempts",
            f"unknown key; did you mean 'max_attempts'? allowed: {RETRY}",
        ),
        ("retyr: {}", ".retyr", f"unknown key; did you mean 'retry'? allowed: {SHARED}"),
        ("x: 1", ".x", f"unknown key; allowed: {SHARED}"),
    ],
)
def test_wrong_keys_of_pipeline_config(refused: Refused, text: str, key: str, message: str) -> None:
    """The message is exact: file, line, path to the key, what was given, what is allowed."""
    expected = f"pipeline.yaml, line 2: pipeline_config{key}: {message}"

    assert refused(f"pipeline_config:\n  {text}\n") == expected


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("{}", "", f"given no kind of source; {KINDS}"),
        ("{url: 'sqlite://'}", "", f"given no kind of source; {KINDS}"),
        ("{range: 3, file: ids.txt}", "", f"given range and file; {KINDS}"),
        ("{range: 3, url: 'sqlite://'}", ".url", "given beside range; allowed: beside sql only"),
        ("{fil: ids.txt}", ".fil", f"unknown key; did you mean 'file'? allowed: {SOURCE}"),
        ("range", "", f"given the text 'range'; allowed: a mapping with the keys {SOURCE}"),
        ("{range: 0}", ".range", f"given 0; {RANGE}"),
        ("{range: true}", ".range", f"given true; {RANGE}"),
        ("{range: 1.5}", ".range", f"given 1.5; {RANGE}"),
        ("{range: '9'}", ".range", f"given the text '9'; {RANGE}"),
        ("{range: [1]}", ".range", f"given a list [1]; {RANGE}"),
        ("{range: [1, 2, 3, 4]}", ".range", f"given a list [1, 2, 3, 4]; {RANGE}"),
        ("{range: 9223372036854775807}", ".range", f"given 9223372036854775807; {RANGE}"),
        ("{range: }", ".range", NULL),
        ("{range: [3, 3]}", ".range", f"given a list [3, 3]; {NO_RANGE}"),
        ("{range: {step: 0}}", ".range", f"given a mapping {{'step': 0}}; {NO_RANGE}"),
        (
            "{range: [1, ten]}",
            ".range.stop",
            "given the text 'ten'; allowed: a whole number of at most 64 bits",
        ),
        ("{file: ''}", ".file", f"given the text ''; {TEXT}"),
        ("{file: 3}", ".file", f"given 3; {TEXT}"),
        ("{sql: select 1, url: todo.db}", ".url", f"given the text 'todo.db'; {URL}"),
        ("{call: my_ids}", ".call", f"given the text 'my_ids'; {CALL}"),
    ],
)
def test_wrong_sources(refused: Refused, text: str, key: str, message: str) -> None:
    """A source has one kind, in one of its forms."""
    assert refused(f"source: {text}") == f"pipeline.yaml, line 1: source{key}: {message}"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("generate", "", f"given the text 'generate'; allowed: a mapping with the keys {STAGE}"),
        ("{name: b, call: generate}", ".call", f"given the text 'generate'; {CALL}"),
        ("{name: ' b', call: 'm:f'}", ".name", f"given the text ' b'; {NAME}"),
        ("{name: 3, call: 'm:f'}", ".name", f"given 3; {NAME}"),
        ("{call: 'm:f'}", ".name", "missing; needed: the name of the stage, which no other stage has"),
        (
            "{name: b}",
            ".call",
            "missing; needed: the function to call, as module:function; rxpipe looks beside the config file first",
        ),
        ("{name: b, call: 'm:f', concurrency: 0}", ".concurrency", f"given 0; {CONCURRENCY}"),
        *(
            (f"{{name: b, call: 'm:f', concurrency: {wrong}}}", ".concurrency", f"given {given}; {CONCURRENCY}")
            for wrong, given in [
                ("automatic", "the text 'automatic'"),
                ("5-20", "the text '5-20'"),
                ("20-5-100", "the text '20-5-100'"),
                ("0-5-100", "the text '0-5-100'"),
                ("'7'", "the text '7'"),
                ("true", "true"),
                ("1.5", "1.5"),
            ]
        ),
        ("{name: b, call: 'm:f', timeout: null}", ".timeout", NULL),
        ("{name: b, call: 'm:f', with: 3}", ".with", "given 3; allowed: a mapping"),
        ("{name: b, call: 'm:f', with: {3: 4}}", ".with[3]", f"given the key 3; {TEXT}"),
        ("{name: b, call: 'm:f', rate_limit: 60}", ".rate_limit", f"given 60; {LIMITS}"),
        ("{name: b, call: 'm:f', rate_limit: {}}", ".rate_limit", f"given a mapping {{}}; {SOME_LIMIT}"),
        (
            "{name: b, call: 'm:f', retry: {retry_on: transient}}",
            ".retry.retry_on",
            "given the text 'transient'; allowed: a list",
        ),
        (
            "{name: b, call: 'm:f', retry: {retry_on: [transent]}}",
            ".retry.retry_on[0]",
            f"given the text 'transent'; did you mean 'transient'? {ERROR_KINDS}",
        ),
        ("{name: b, call: 'm:f', timeout: -.inf}", ".timeout", f"given -.inf; {SECONDS}"),
        ("{name: b, call: 'm:f', queue_size: 1.5}", ".queue_size", f"given 1.5; {COUNT}"),
        (
            "{name: b, call: 'm:f', retry: {jitter: 2}}",
            ".retry.jitter",
            "given 2; allowed: a number from 0 to 1",
        ),
        (
            "{name: b, call: 'm:f', retry: {initial: 90}}",
            ".retry.initial",
            "given 90; allowed: max_delay, which is 60, or less",
        ),
        ("{name: b, cal: 'm:f', call: 'm:f'}", ".cal", f"unknown key; did you mean 'call'? allowed: {STAGE}"),
        (
            "{name: a, call: 'm:g'}",
            ".name",
            "given the text 'a', which is the name of stages[0] too; allowed: a name of its own",
        ),
    ],
)
def test_wrong_stages(refused: Refused, text: str, key: str, message: str) -> None:
    """A stage is named by its place in the list."""
    expected = f"pipeline.yaml, line 3: stages[1]{key}: {message}"

    assert refused(f"stages:\n  - {{name: a, call: 'm:f'}}\n  - {text}") == expected


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("pipeline_config:", "pipeline_config", NULL),
        (
            "pipeline_config: [3]",
            "pipeline_config",
            f"given a list [3]; allowed: a mapping with the keys {SHARED}",
        ),
        (
            "pipline_config: {}",
            "pipline_config",
            f"unknown key; did you mean 'pipeline_config'? allowed: {TOP}",
        ),
        ("2: 3", "[2]", f"unknown key; allowed: {TOP}"),
        ("'a b': 3", "['a b']", f"unknown key; allowed: {TOP}"),
        ("stages: []", "stages", "given an empty list; allowed: a list of at least one"),
        ("stages: [3]", "stages[0]", f"given 3; allowed: a mapping with the keys {STAGE}"),
        ("stages: {a: 1}", "stages", "given a mapping {'a': 1}; allowed: a list"),
        ("strategy: stagd", "strategy", f"given the text 'stagd'; did you mean 'staged'? {STRATEGY}"),
        ("strategy: [staged]", "strategy", f"given a list ['staged']; {STRATEGY}"),
        ("strategy: 2024-01-02", "strategy", f"given datetime.date(2024, 1, 2); {STRATEGY}"),
        (
            "scheduler: thread",
            "scheduler",
            "given the text 'thread'; did you mean 'threads'? allowed: threads or asyncio",
        ),
        ("database: {url: questions.db}", "database.url", f"given the text 'questions.db'; {URL}"),
        ("database: {table: 3}", "database.table", f"given 3; {TEXT}"),
        ("name: 3", "name", f"given 3; {PIPELINE_NAME}"),
        ("name: ''", "name", f"given the text ''; {PIPELINE_NAME}"),
        ('name: "a\\nb"', "name", f"given the text 'a\\nb'; {PIPELINE_NAME}"),
    ],
)
def test_other_wrong_keys(refused: Refused, text: str, key: str, message: str) -> None:
    """Keys at the top and of the database are told the same way."""
    assert refused(text) == f"pipeline.yaml, line 1: {key}: {message}"


def test_stages_of_the_file_are_the_known_ones(refused: Refused) -> None:
    """Once a file has stages of its own, a timeout for one of the question bank's is an error."""
    text = "stages: [{name: a, call: 'm:f'}]\npipeline_config: {timeouts: {grading: 3}}"

    assert refused(text).endswith("pipeline_config.timeouts.grading: no stage has this name; allowed: a")


def test_a_stages_delays_are_compared_with_the_shared_ones(refused: Refused) -> None:
    """What a stage leaves out is what pipeline_config says, and must fit what the stage says."""
    text = "pipeline_config: {retry: {initial: 90, max_delay: 99}}\n"
    text += "stages: [{name: a, call: 'm:f', retry: {max_delay: 3}}]"

    expected = "line 2: stages[0].retry.max_delay: given 3; allowed: initial, which is 90, or more"
    assert refused(text) == f"pipeline.yaml, {expected}"


def test_a_nameless_stage_makes_no_false_alarm(refused: Refused) -> None:
    """A timeout is not called homeless while a stage's name is missing."""
    text = "pipeline_config: {timeouts: {grading: 5}}\nstages: [{call: 'm:f'}]"

    assert "grading" not in refused(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f": the file is empty; allowed: a mapping with the keys {TOP}"),
        ("# only a comment\n", f": the file is empty; allowed: a mapping with the keys {TOP}"),
        ("- 1\n", f", line 1: given a list [1]; allowed: a mapping with the keys {TOP}"),
        ("staged\n", f", line 1: given the text 'staged'; allowed: a mapping with the keys {TOP}"),
        ("source:\n\trange: 3\n", f", line 2, column 1: {TAB}"),
        ("strategy: staged\n\tscheduler: threads\n", f", line 2, column 1: {TAB}"),
        ("source:\n  range:\n  \tstop: 3\n", f", line 3, column 3: {TAB}"),
        ("# 配置\r\nsource:\r\n\t range: 3\r\n", f", line 3, column 1: {TAB}"),
        (
            "strategy: staged\nsource: {range: 3\n",
            ", line 3, column 1: not valid YAML: while parsing a flow mapping, "
            "expected ',' or '}', but got '<stream end>'",
        ),
        (
            "strategy: staged\n scheduler: threads\n",
            ", line 2, column 11: not valid YAML: mapping values are not allowed here",
        ),
        ("a: *b\n", ", line 1, column 4: not valid YAML: found undefined alias 'b'"),
        (
            "--- {}\n--- {}\n",
            ", line 2, column 1: not valid YAML: expected a single document in the stream, but found another document",
        ),
        (
            "{[1]: 2}\n",
            ", line 1, column 2: not valid YAML: while constructing a mapping, found unhashable key",
        ),
        (
            "strategy: !!python/name:os.system\n",
            ", line 1, column 11: the tag !!python/name:os.system is not allowed; allowed: plain data without tags",
        ),
        (
            "strategy: 2024-99-99\n",
            ", line 1, column 11: not valid YAML: '2024-99-99' cannot be read as !!timestamp",
        ),
        ("a: !!int b\n", ", line 1, column 4: not valid YAML: 'b' cannot be read as !!int"),
        ("a: !!timestamp b\n", ", line 1, column 4: not valid YAML: 'b' cannot be read as !!timestamp"),
        ("a: 1\nb: \x07\n", ", line 2, column 4: a character that YAML forbids, U+0007"),
        (b"a: 1\nb: \xff\n", ", line 2: not UTF-8 (byte 0xff); allowed: UTF-8 text"),
        ("[" * 1000, ": nested too deeply to be read; allowed: a few levels"),
        ("{a: " * 1000, ": nested too deeply to be read; allowed: a few levels"),
    ],
)
def test_a_file_that_is_no_config_is_told_with_its_place(refused: Refused, text: str | bytes, message: str) -> None:
    """What is not YAML, or not a mapping, is told with line and column where there are any."""
    assert refused(text) == f"pipeline.yaml{message}"


def test_a_key_given_twice_is_told_with_both_lines(refused: Refused) -> None:
    """PyYAML would take the last of them in silence."""
    text = "strategy: staged\nsource:\n  range: 3\n  file: a\n  range: 4\nstrategy: per_item\n"

    assert refused(text).splitlines() == [
        "pipeline.yaml, line 5: source.range: given twice, on line 3 and on line 5; allowed: once",
        "pipeline.yaml, line 6: strategy: given twice, on line 1 and on line 6; allowed: once",
    ]


def test_a_key_given_twice_on_one_line(refused: Refused) -> None:
    """The same in a mapping in braces, with the key in quotes once."""
    message = refused("source: {range: 1, 'range': 2}")

    assert message == "pipeline.yaml, line 1: source.range: given twice, on line 1 and on line 1; allowed: once"


def test_all_problems_are_told_in_the_order_of_the_file(refused: Refused) -> None:
    """One run tells everything, whether about single keys or keys together."""
    text = """\
source: {range: 3, file: ids.txt}
pipeline_config:
  parallel_pipelines: 0
  timeouts:
    generation: -1
    grding: 5
  retyr: 3
stages:
  - {name: generation, call: "m:f"}
  - {name: grading, call: nothing}
strategy: stagd
"""

    assert [line.split(": ")[:2] for line in refused(text).splitlines()] == [
        ["pipeline.yaml, line 1", "source"],
        ["pipeline.yaml, line 3", "pipeline_config.parallel_pipelines"],
        ["pipeline.yaml, line 5", "pipeline_config.timeouts.generation"],
        ["pipeline.yaml, line 6", "pipeline_config.timeouts.grding"],
        ["pipeline.yaml, line 7", "pipeline_config.retyr"],
        ["pipeline.yaml, line 10", "stages[1].call"],
        ["pipeline.yaml, line 11", "strategy"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "database: {url: 'postgresql:/u:hunter2@h/d'}",
        "database: {url: ['postgresql://u:hunter2@h/d']}",
        f"database: {{url: ['postgresql://u:hunter2{'x' * 100}@{'h' * 100}/d']}}",
        "database: 'postgresql://u:hunter2@h/d'",
        "database: {url: 'postgresql:/h/d?user=u&password=hunter2'}",
    ],
)
def test_no_message_shows_a_password(refused: Refused, text: str) -> None:
    """A URL in the wrong place or form is shown without its password."""
    message = refused(text)

    assert "***" in message
    assert "hunter2" not in message
