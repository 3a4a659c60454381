"""The config: what loads, what the defaults are, and that nothing else gets through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rxpipe.config import Config, RetryConfig, SourceConfig, StageConfig, StageSettings, load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.llm_sections import LimitsConfig
from rxpipe.config.source_section import KINDS
from rxpipe.errors import ConfigError
from rxpipe.identity.names import DefaultName

Write = Callable[[str | bytes], Path]

SEED = Path(__file__).parents[1] / "data" / "seed.yaml"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a config file and gives its path."""

    def writing(text: str | bytes) -> Path:
        path = tmp_path / "pipeline.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return writing


def load(write: Write, text: str) -> Config:
    return load_config(write(text))


def test_the_seeds_yaml_loads_unchanged() -> None:
    """The YAML of the seed, comments and all, is a config."""
    shared = load_config(SEED).pipeline_config

    assert shared.parallel_pipelines == 3
    assert shared.timeouts == {"generation": 60, "answering": 120, "grading": 60}
    assert shared.queue_sizes == {"generation": 10, "answering": 10, "grading": 10}
    assert (shared.retry.max_attempts, shared.retry.backoff_factor) == (3, 2)


def test_the_seeds_yaml_resolves_to_the_question_bank() -> None:
    """Without stages the embedded question bank runs, with the file's timeouts."""
    stages = load_config(SEED).resolved_stages()

    assert [(stage.name, stage.call, stage.timeout) for stage in stages] == [
        ("generation", "rxpipe.questions.arithmetic:generate", 60),
        ("answering", "rxpipe.questions.arithmetic:answer", 120),
        ("grading", "rxpipe.questions.arithmetic:grade", 60),
    ]


@pytest.mark.parametrize(
    ("file", "text", "name", "url"),
    [
        ("my bank.yaml", "{}", "my_bank", "sqlite:///my_bank.db"),
        ("bank.yaml", "database: {table: rows}", "bank", "sqlite:///bank.db"),
        ("bank.yaml", "name: my bank/2", "my bank/2", "sqlite:///my_bank_2.db"),
        ("bank.yaml", "{name: other, database: {url: 'sqlite:///mine.db'}}", "other", "sqlite:///mine.db"),
    ],
)
def test_the_name_and_the_database_of_that_name(tmp_path: Path, file: str, text: str, name: str, url: str) -> None:
    """By default they are the file's: two configs in one folder have one each."""
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    config = load_config(path)
    assert (config.pipeline_name, config.database.url) == (name, url)
    assert getattr(config.pipeline_name, "origin", None) == (None if config.name else str(path))
    assert pipeline_of(config).name == name


def test_an_empty_mapping_has_every_default(write: Write) -> None:
    """No key is required."""
    config = load(write, "{}")

    assert config.pipeline_config.parallel_pipelines == 3
    assert config.pipeline_config.retry == RetryConfig(
        max_attempts=3, backoff_factor=2.0, initial=1.0, max_delay=60.0, jitter=0.5
    )
    assert isinstance(config.pipeline_name, DefaultName)
    assert (config.database.url, config.database.table) == (f"sqlite:///{config.pipeline_name}.db", "results")
    assert (config.strategy, config.scheduler) == ("per_stage", "threads")
    assert config.source.range is not None
    assert config.source.range.ids() == range(1, 101)


def test_a_stages_own_settings_win(write: Write) -> None:
    """What a stage says of itself goes before what is said of all stages."""
    config = load(
        write,
        """
        pipeline_config: {parallel_pipelines: 7, timeouts: {a: 5}, queue_sizes: {a: 6}, retry: {jitter: 0}}
        stages:
          - {name: a, call: "m:f", concurrency: 2, timeout: 1.5, queue_size: 4, max_abandoned: 0,
             with: {style: loud}, rate_limit: {requests_per_minute: 60},
             retry: {max_attempts: 9, retry_on: [transient, error]}}
        """,
    )

    assert config.resolved_stages() == (
        StageSettings(
            name="a",
            call="m:f",
            options={"style": "loud"},
            concurrency=2,
            executor=None,
            timeout=1.5,
            queue_size=4,
            max_abandoned=0,
            version=None,
            retry=RetryConfig(max_attempts=9, jitter=0, retry_on=("transient", "error")),
            rate_limit=LimitsConfig(requests_per_minute=60),
            key="stages[0]",
        ),
    )


def test_a_stages_settings_default_to_the_shared_ones(write: Write) -> None:
    """What a stage does not say of itself is what pipeline_config says."""
    config = load(
        write,
        """
        pipeline_config: {parallel_pipelines: 7, timeouts: {a: 5}, queue_sizes: {a: 6}, retry: {jitter: 0}}
        stages: [{name: a, call: "m:f"}]
        """,
    )

    (stage,) = config.resolved_stages()
    assert (stage.concurrency, stage.timeout, stage.queue_size, stage.retry.jitter) == (7, 5.0, 6, 0)


def test_a_stage_that_nothing_is_said_of_has_the_last_defaults(write: Write) -> None:
    """A stage that no key speaks of gets 60 seconds and a queue of 10."""
    (stage,) = load(write, 'stages: [{name: a, call: "m:f"}]').resolved_stages()

    assert (stage.concurrency, stage.timeout, stage.queue_size) == (3, 60.0, 10)


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        ("1000", range(1, 1001)),
        ("[1, 1001]", range(1, 1001)),
        ("[10, 0, -3]", range(10, 0, -3)),
        ("{start: 5, stop: 9, step: 2}", range(5, 9, 2)),
        ("{stop: 4}", range(1, 4)),
        ("{start: 11}", range(11, 111)),
        ("{}", range(1, 101)),
    ],
)
def test_forms_of_a_range(write: Write, written: str, ids: range) -> None:
    """A range is a count, a list, or a mapping; without a stop it has 100 IDs."""
    source = load(write, f"source: {{range: {written}}}").source

    assert source.range is not None
    assert source.range.ids() == ids


def test_a_config_knows_its_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is absolute, wherever the process goes later."""
    path = write("{}")
    monkeypatch.chdir(path.parent)

    config = load_config("pipeline.yaml")

    assert config.folder == path.parent
    assert config.where("source.file") == "pipeline.yaml: source.file"


def test_a_config_made_in_code_has_no_folder() -> None:
    """Without a file there is no folder, and keys stand by themselves in messages."""
    config = Config()

    assert config.folder is None
    assert config.where("source.file") == "source.file"


def test_a_config_is_frozen() -> None:
    """A config cannot change under whoever uses it."""
    with pytest.raises(ValidationError, match="frozen"):
        Config().strategy = "staged"  # pyright: ignore[reportAttributeAccessIssue] - it is frozen


def test_anchors_and_merge_keys_work(write: Write) -> None:
    """YAML's own means of saying things once are there, and a merged key may be overridden."""
    config = load(
        write,
        """
        pipeline_config:
          retry: &retry {max_attempts: 5, jitter: 0.1}
        stages:
          - {name: a, call: "m:f", retry: {<<: *retry, max_attempts: 6}}
          - {name: b, call: "m:f", retry: *retry}
        """,
    )

    assert [stage.retry.max_attempts for stage in config.resolved_stages()] == [6, 5]


def test_a_byte_order_mark_is_no_problem(write: Write) -> None:
    """Windows editors put one at the start of a file."""
    assert load(write, "\ufeffstrategy: staged").strategy == "staged"


def test_loading_touches_nothing(write: Write) -> None:
    """Loading opens no database, and imports no module."""
    path = write('stages: [{name: a, call: "no_such_module:f"}]\ndatabase: {url: "sqlite:///made.db"}')

    load_config(path)

    assert list(path.parent.iterdir()) == [path]


def test_a_repr_shows_no_password() -> None:
    """A config can be logged."""
    config = Config.model_validate(
        {"database": {"url": "mysql://u:hunter2@h/d"}, "source": {"sql": "s", "url": "mysql://u:hunter2@h/d"}}
    )

    assert "hunter2" not in repr(config)


def test_a_config_in_code_is_checked_too() -> None:
    """Contradictions are refused wherever the data come from."""
    with pytest.raises(ValidationError, match="no stage has this name"):
        Config.model_validate({"pipeline_config": {"timeouts": {"x": 1.0}}})


def test_the_schema_describes_every_key() -> None:
    """Editors show a description for each key, and never offer null."""
    schema = Config.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    keys = {name: key for section in sections for name, key in section.get("properties", {}).items()}

    assert {
        "parallel_pipelines",
        "timeouts",
        "max_attempts",
        "file",
        "call",
        "table",
        "strategy",
        "with",
        "api_key_env",
        "retry_on",
        *("expand", "collect", "batch", "max_rounds", "when", "key", "cache", "until", "max_cost"),
        *("csv", "jsonl", "parquet", "rows", "id", "on_change", "delimiter", "encoding", "columns"),
    } <= keys.keys()
    assert [name for name, key in keys.items() if "description" not in key and "$ref" not in key] == []
    assert "null" not in json.dumps(schema)


def test_the_schema_has_the_short_forms_of_a_range() -> None:
    """A count and a list stand beside the mapping."""
    forms = Config.model_json_schema()["$defs"]["RangeConfig"]["anyOf"]

    assert [form["type"] for form in forms] == ["integer", "array", "object"]


def test_the_schema_has_the_short_form_of_limits() -> None:
    """A name stands beside the mapping."""
    forms = Config.model_json_schema()["$defs"]["LimitsConfig"]["anyOf"]

    assert [form["type"] for form in forms] == ["string", "object"]


def test_the_schema_has_the_short_form_of_a_batch() -> None:
    """A count stands beside the mapping."""
    forms = Config.model_json_schema()["$defs"]["BatchConfig"]["anyOf"]

    assert [form["type"] for form in forms] == ["integer", "object"]


def test_the_schema_has_both_forms_of_a_predicate() -> None:
    """A function by its name stands beside the mapping of fields."""
    forms = Config.model_json_schema()["$defs"]["StageConfig"]["properties"]["when"]["anyOf"]

    assert [form["type"] for form in forms] == ["string", "object"]


def test_the_schema_wants_an_id_beside_records() -> None:
    """An editor underlines a file of records without one."""
    needed = Config.model_json_schema()["$defs"]["SourceConfig"]["dependentRequired"]

    assert needed == {kind: ["id"] for kind in ("rows", "csv", "jsonl", "parquet")}


def test_the_schema_wants_one_kind_of_source() -> None:
    """An editor underlines a source that has two kinds."""
    kinds = Config.model_json_schema()["$defs"]["SourceConfig"]["oneOf"]

    assert kinds == [{"required": [kind]} for kind in KINDS]
    assert {"csv", "jsonl", "parquet", "rows", "sql"} < set(KINDS)


KEYS = st.sampled_from(
    [
        *("timeouts", "queue_sizes", "generation", "start"),
        *(key for model in (Config, SourceConfig, StageConfig, RetryConfig) for key in model.model_fields),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(["m:f", "staged", "sqlite://"])
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
FIXTURES = [HealthCheck.function_scoped_fixture]


def message_of(path: Path) -> str | None:
    """What is said of a config, if it is refused; anything but a ConfigError fails the test."""
    try:
        load_config(path)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.slow
@settings(suppress_health_check=FIXTURES, deadline=None, max_examples=settings().max_examples)
@given(data=st.dictionaries(KEYS, NESTED, min_size=1, max_size=4) | NESTED)
@example(data={"stages": [{"name": []}, {"name": {}}]})
@example(data={"pipeline_config": {"retry": {"initial": 10**400}}})
@example(data={"pipeline_config": {"timeouts": {"a\n": 1}}})
def test_any_data_loads_or_is_a_config_error(write: Write, data: Any) -> None:
    """No data, however odd, raises anything but a ConfigError, each line of which names the file."""
    path = write(yaml.safe_dump(data))  # pyright: ignore[reportUnknownMemberType]  # one option of its stub

    message = message_of(path)

    assert message is None or all(line.startswith(str(path)) for line in message.split("\n"))


@settings(suppress_health_check=FIXTURES, deadline=None, max_examples=settings().max_examples)
@given(text=st.text(alphabet=st.sampled_from(list("ab:-[]{}&*!<>|'\"#%@,? \t\n\x00\ufeff3.")), max_size=30))
@example(text="a: &a {<<: *a}")
@example(text="&a [*a]")
@example(text="!!set {a, b}")
def test_any_text_loads_or_is_a_config_error(write: Write, text: str) -> None:
    """No text, however broken, raises anything but a ConfigError that names the file."""
    path = write(text)

    message = message_of(path)

    assert message is None or message.startswith(str(path))
