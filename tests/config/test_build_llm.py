"""From a config to stages that call language models: providers, limits, retries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rxpipe import AdaptiveConcurrency, ConfigError, Retry, Stage
from rxpipe.config import load_config
from rxpipe.config.build import pipeline_of
from rxpipe.llm import Limits, Prices, Provider, Unavailable
from rxpipe.operators.stages.limiter import AllOf

Build = Callable[[str], tuple[Stage, ...]]

CALL = "call: 'rxpipe.questions.llm:generate'"
NO_LIMITS = "allowed: none, until the config's own limits have some"


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Gives the stages of a config."""

    def building(text: str) -> tuple[Stage, ...]:
        path = tmp_path / "pipeline.yaml"
        path.write_text(text, "utf-8")
        return pipeline_of(load_config(path)).stages

    return building


@pytest.fixture
def refused(build: Build, tmp_path: Path) -> Callable[[str], str]:
    """Builds what must be refused, and gives the message, with only the files' names for their paths."""

    def refusing(text: str) -> str:
        with pytest.raises(ConfigError) as raised:
            build(text)
        return str(raised.value).replace(f"{tmp_path}/", "")

    return refusing


def given(stage: Stage) -> dict[str, Any]:
    """The arguments that its function is given."""
    assert isinstance(stage.call, partial)
    return stage.call.keywords  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def provider_of(stage: Stage) -> Provider:
    """The provider that its function is given."""
    found = given(stage)["provider"]
    assert isinstance(found, Provider)
    return found


@pytest.mark.parametrize(
    ("text", "concurrency"),
    [
        ("auto", AdaptiveConcurrency()),
        ("5-20-100", AdaptiveConcurrency(least=5, start=20, most=100)),
        ("7", 7),
    ],
)
def test_concurrency_may_find_its_own_bound(build: Build, text: str, concurrency: object) -> None:
    """As ``auto``, or as least, start and most."""
    (stage,) = build(f"stages: [{{name: a, call: 'rxpipe.questions.arithmetic:generate', concurrency: {text}}}]")
    assert stage.concurrency == concurrency


def test_stages_share_a_provider_by_its_name(build: Build) -> None:
    """One of another name is another one."""
    one, same, other = build(
        f"""
providers:
  main: {{model: m, base_url: "http://127.0.0.1:9/v1"}}
  judge: {{model: m, base_url: "http://127.0.0.1:9/v1"}}
stages:
  - {{name: a, {CALL}, with: {{provider: main}}}}
  - {{name: b, {CALL}, with: {{provider: main}}}}
  - {{name: c, {CALL}, with: {{provider: judge}}}}
"""
    )
    assert provider_of(one) is provider_of(same)
    assert provider_of(one) is not provider_of(other)
    assert (provider_of(one).name, provider_of(other).name) == ("main", "judge")


def test_an_unknown_provider_is_told_with_the_nearest(refused: Callable[[str], str]) -> None:
    """And with ``local``, which there always is; where it is named, by the argument's name."""
    message = refused(f"providers: {{main: {{model: m}}}}\nstages: [{{name: a, {CALL}, with: {{provider: mian}}}}]")
    assert message == (
        "pipeline.yaml: stages[0].with.provider: no provider is called 'mian'; did you mean 'main'? "
        "allowed: main, local"
    )


def test_a_provider_that_no_stage_names_needs_no_key(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not made."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert len(build("providers: {main: {model: m}}")) == 3


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "the environment variable OPENAI_API_KEY is not set, nor OPENAI_API_KEY_FILE"),
        (", api_key_env: OTHER_API_KEY", "the environment variable OTHER_API_KEY is not set, nor OTHER_API_KEY_FILE"),
        (", api_key_env: hunter2", "the environment variable that it names is not set"),
        (", api_key_env: BLANK_API_KEY", "the environment variable BLANK_API_KEY is not set, nor BLANK_API_KEY_FILE"),
        (
            ", api_key_env: ODD_API_KEY",
            "the environment variable ODD_API_KEY holds no key: not printable ASCII",
        ),
    ],
)
def test_a_key_that_is_missing_is_told_before_anything_runs(
    refused: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, key: str, message: str
) -> None:
    """By its variable's name, unless that may be the key itself."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("BLANK_API_KEY", " \n")
    monkeypatch.setenv("ODD_API_KEY", "hünter2")
    text = f"providers: {{main: {{model: m{key}}}}}\nstages: [{{name: a, {CALL}, with: {{provider: main}}}}]"
    assert refused(text) == f"pipeline.yaml: providers.main.api_key_env: {message}"


def test_a_model_file_is_looked_for_beside_the_config(refused: Callable[[str], str]) -> None:
    """One that is not there is told with its place."""
    pytest.importorskip("xllamacpp", exc_type=ImportError)  # also where libgomp.so.1 is missing
    text = f"providers: {{mine: {{gguf: mine.gguf}}}}\nstages: [{{name: a, {CALL}, with: {{provider: mine}}}}]"
    assert refused(text) == "pipeline.yaml: providers.mine.gguf: mine.gguf: there is no such model file"


def test_prices_are_those_of_a_million_tokens(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come to the provider as they are."""
    made: list[Prices | None] = []
    init = Provider.__init__

    def spying(self: Provider, **options: Any) -> None:
        made.append(options["prices"])
        init(self, **options)

    monkeypatch.setattr(Provider, "__init__", spying)
    build(
        "providers: {main: {model: m, base_url: 'http://h/v1', prices: {prompt: 0.4, completion: 2}}}\n"
        f"stages: [{{name: a, {CALL}, with: {{provider: main}}}}]"
    )
    assert made == [Prices(prompt=0.4, completion=2)]


def test_kinds_of_errors_reach_the_retry_policy(build: Build) -> None:
    """A stage's own, or those of all."""
    first, second = build(
        """
pipeline_config: {retry: {retry_on: [transient, rate_limited]}}
stages:
  - {name: a, call: "rxpipe.questions.arithmetic:generate", retry: {retry_on: [invalid_output]}}
  - {name: b, call: "rxpipe.questions.arithmetic:answer"}
"""
    )
    assert first.retry == Retry(retry_on=("invalid_output",))
    assert isinstance(second.retry, Retry)
    assert second.retry.retry_on == ("transient", "rate_limited")
    assert second.retry.applies(Unavailable("busy"), 1)


def test_without_kinds_everything_is_tried_again(build: Build) -> None:
    """As ``Retry`` has it."""
    (stage,) = build("stages: [{name: a, call: 'rxpipe.questions.arithmetic:generate'}]")
    assert stage.retry == Retry()


def test_a_providers_limits_are_those_of_its_stages(build: Build) -> None:
    """The same for all of them."""
    stages = build(
        f"""
providers: {{main: {{model: m, base_url: "http://h/v1", limits: {{requests_per_minute: 60}}}}}}
stages:
  - {{name: a, {CALL}, with: {{provider: main}}}}
  - {{name: b, {CALL}, with: {{provider: main}}}}
"""
    )
    limits = provider_of(stages[0]).limits
    assert [stage.rate_limit for stage in stages] == [limits, limits]


def test_a_stage_has_its_own_limits_besides_its_providers(build: Build) -> None:
    """A call has its place when it has one in each."""
    (stage,) = build(
        f"""
providers: {{main: {{model: m, base_url: "http://h/v1", limits: {{requests_per_minute: 60}}}}}}
stages: [{{name: a, {CALL}, with: {{provider: main}}, rate_limit: {{requests_per_minute: 6}}}}]
"""
    )
    assert isinstance(stage.rate_limit, AllOf)
    stage.rate_limit.reserve(0)
    assert stage.rate_limit.reserve(0) == pytest.approx(10)
    assert provider_of(stage).limits.reserve(0) == pytest.approx(2)


def test_limits_of_a_name_are_shared(build: Build) -> None:
    """By two providers and a stage, which are held up by each other."""
    first, second, third = build(
        f"""
limits: {{account: {{requests_per_minute: 60, tokens_per_minute: 9000}}}}
providers:
  main: {{model: m, base_url: "http://h/v1", limits: account}}
  judge: {{model: n, base_url: "http://h/v1", limits: {{shared: account}}}}
stages:
  - {{name: a, {CALL}, with: {{provider: main}}, rate_limit: account}}
  - {{name: b, {CALL}, with: {{provider: judge}}}}
  - {{name: c, {CALL}, with: {{provider: main}}}}
"""
    )
    limits = first.rate_limit
    assert isinstance(limits, Limits)
    assert second.rate_limit is limits
    assert third.rate_limit is limits


def test_a_stage_without_provider_has_limits_of_requests(build: Build) -> None:
    """Of whatever it calls."""
    (stage,) = build(
        "stages: [{name: a, call: 'rxpipe.questions.arithmetic:generate', rate_limit: {requests_per_minute: 6}}]"
    )
    assert isinstance(stage.rate_limit, Limits)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("", f"no limits are called 'fats'; {NO_LIMITS}"),
        (
            "limits: {fast: {requests_per_minute: 3}}",
            "no limits are called 'fats'; did you mean 'fast'? allowed: fast",
        ),
        (
            "limits: {fats: fast, fast: {requests_per_minute: 3}}",
            "'fats' only names other limits; did you mean 'fast'? allowed: fast",
        ),
        ("limits: {fats: fats}", f"'fats' only names other limits; {NO_LIMITS}"),
    ],
)
@pytest.mark.parametrize("by_provider", [False, True])
def test_limits_that_are_not_there_are_told(
    refused: Callable[[str], str], limits: str, message: str, by_provider: bool
) -> None:
    """Also a name for a name, which might go on for ever."""
    if by_provider:
        text = f"providers: {{p: {{model: m, base_url: 'http://h/v1', limits: fats}}}}\n{limits}\n"
        text += f"stages: [{{name: a, {CALL}, with: {{provider: p}}}}]"
        assert refused(text) == f"pipeline.yaml: providers.p.limits: {message}"
    else:
        text = f"{limits}\nstages: [{{name: a, call: 'rxpipe.questions.arithmetic:generate', rate_limit: fats}}]"
        assert refused(text) == f"pipeline.yaml: stages[0].rate_limit: {message}"


def test_tokens_are_limited_where_they_are_counted(refused: Callable[[str], str]) -> None:
    """A stage's own limit would take them for each call and never learn how many it were."""
    text = f"""
providers: {{main: {{model: m, base_url: "http://h/v1"}}}}
stages: [{{name: a, {CALL}, with: {{provider: main}}, rate_limit: {{tokens_per_minute: 6}}}}]
"""
    assert refused(text).startswith("pipeline.yaml: stages[0].rate_limit: tokens are counted by a provider only")


def test_a_choice_of_none_is_refused(refused: Callable[[str], str]) -> None:
    """Of topics, say: every item would fail."""
    text = f"""
providers: {{main: {{model: m, base_url: "http://h/v1"}}}}
stages: [{{name: a, {CALL}, with: {{provider: main, topic: []}}}}]
"""
    assert "stages[0].with.topic: given a list []" in refused(text)
