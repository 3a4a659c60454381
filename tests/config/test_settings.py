"""Single settings of a config, by their paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rxpipe.config import Config, load_config
from rxpipe.config.settings import setting_of
from rxpipe.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted([*(ROOT / "examples").glob("*.yaml"), ROOT / "tests" / "data" / "seed.yaml"])


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_nothing_else_changes(path: Path) -> None:
    """A config with one other setting is the same but for that, and knows its file."""
    config = load_config(path)
    name = config.stages[-1].name
    changed = config.with_settings({f"stages.{name}.concurrency": 123})
    assert config.with_settings({}) == config
    assert changed.resolved_stages()[-1].concurrency == 123
    assert changed.resolved_stages()[:-1] == config.resolved_stages()[:-1]
    assert (changed.folder, changed.pipeline_name) == (config.folder, config.pipeline_name)


def test_paths() -> None:
    """Sections that the config does not have are made, also of stages that it has by default; names may have dots."""
    changed = Config().with_settings(
        {"stages.answering.retry.max_attempts": 7, "pipeline_config.parallel_pipelines": 9}
    )
    assert changed.resolved_stages()[1].retry.max_attempts == 7
    assert changed.pipeline_config.parallel_pipelines == 9
    dotted = Config.model_validate({"stages": [{"name": "a", "call": "m:f"}, {"name": "a.b", "call": "m:f"}]})
    assert dotted.with_settings({"stages.a.b.timeout": 5}).stages[1].timeout == 5


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("stages.answering.concurrency=14", ("stages.answering.concurrency", 14)),
        (" strategy = per_item ", ("strategy", "per_item")),
        ("stages.a.with={level: hard, note: 'a=b'}", ("stages.a.with", {"level": "hard", "note": "a=b"})),
    ],
)
def test_texts(text: str, found: tuple[str, Any]) -> None:
    """Values are read as they would stand in the file."""
    assert setting_of(text) == found


@pytest.mark.parametrize("text", ["", "14", "=14", "strategy"])
def test_no_setting(text: str) -> None:
    """What has no key or no value."""
    with pytest.raises(ConfigError, match=r"is no setting; allowed: KEY=VALUE"):
        setting_of(text)


def test_no_value() -> None:
    """What is no YAML."""
    with pytest.raises(ConfigError, match=r"^'\[1' cannot be read; allowed: a value as in the config file$"):
        setting_of("a=[1")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"stages.answerin.concurrency": 1}, "no stage is called 'answerin'; did you mean 'answering'? allowed: gen"),
        ({"stages.answering": 1}, "stages.answering: a stage; needed: one of its keys, like stages.answering.conc"),
        ({"stages.answering.concurency": 1}, "stages.answering.concurency: unknown key; did you mean 'concurrency'?"),
        ({"stages.answering.concurrency": 0}, "stages.answering.concurrency: given 0; allowed: a whole number, 1 or"),
        ({"stages.answering.retry.max": 0}, "stages.answering.retry.max: unknown key; allowed: max_attempts,"),
        ({"strategy": "staged", "until": 3}, "until: given beside strategy staged"),
        ({"strategy": None}, "strategy: given nothing (null); allowed: a value"),
        ({"bogus": 3}, "bogus: unknown key; allowed: name, pipeline_config,"),
    ],
)
def test_wrong(settings: dict[str, Any], told: str) -> None:
    """It is told by its path what is wrong, and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        Config().with_settings(settings)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
