"""The YAML config of a pipeline: all its keys, their defaults, and `load_config`.

Every key is optional. An empty mapping runs the embedded question bank on 100 IDs. The models describe and check the
file, and ``Config.model_json_schema()`` is the schema for editors. Some methods combine several keys:
`Config.resolved_stages`, `Config.folder`, `Config.where`. This module opens and imports nothing except the config file
itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from rxpipe.config.consistency import contradictions, store_of
from rxpipe.config.error_texts import CONTRADICTION, Problem, dotted, explain
from rxpipe.config.executor_sections import ExecutorConfig
from rxpipe.config.llm_sections import LimitsConfig, Name, ProviderConfig
from rxpipe.config.section_base import Cost, Count, Section
from rxpipe.config.sections import (
    BatchConfig,
    DatabaseConfig,
    OutputConfig,
    PipelineConfig,
    PipelineName,
    RetryConfig,
    StageConfig,
)
from rxpipe.config.settings import by_name, changed, location
from rxpipe.config.source_section import RangeConfig, SourceConfig
from rxpipe.config.yaml_file import read_yaml
from rxpipe.errors import ConfigError
from rxpipe.identity.names import DefaultName, file_name
from rxpipe.operators.stages.adaptive import AdaptiveConcurrency


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """A stage with all defaults filled in.

    Attributes:
        name: The stage's name.
        call: The stage's function, as ``module:function``.
        options: Arguments of the function, besides the value.
        concurrency: The most calls at the same time.
        executor: Where the calls run, or None.
        timeout: Seconds that one call may take.
        queue_size: Items that may wait.
        max_abandoned: Calls that timed out, have not returned, and hold no slot; None for as many as there are slots.
        version: The version of the stage's results. Results of other versions are not used; or None.
        retry: The stage's retries.
        rate_limit: Limits of the calls, or None.
        key: The stage's place in the file, for error messages: ``stages[0]``.
        when: The values that the stage is called with, as module:function or as fields; None for all.
        order_key: The field, or module:function, of the ordering key. Calls with the same key are made in order. Or
            None.
        expand: True if the function returns many values.
        collect: True if the function is called with all children of an item.
        batch: How many values the function is called with at once; None for one.
        max_rounds: How often an item may go back; None for the default of a ``Stage``.
        cache: True if results of earlier runs are used.
    """

    name: str
    call: str
    options: Mapping[str, Any]
    concurrency: int | AdaptiveConcurrency
    executor: ExecutorConfig | None
    timeout: float
    queue_size: int
    max_abandoned: int | None
    version: int | str | None
    retry: RetryConfig
    rate_limit: LimitsConfig | None
    key: str
    when: str | Mapping[str, Any] | None = None
    order_key: str | None = None
    expand: bool = False
    collect: bool = False
    batch: BatchConfig | None = None
    max_rounds: int | None = None
    cache: bool = False


def _question_bank() -> tuple[StageConfig, ...]:
    calls = {"generation": "generate", "answering": "answer", "grading": "grade"}
    return tuple(StageConfig(name=name, call=f"rxpipe.questions.arithmetic:{call}") for name, call in calls.items())


class Config(Section):
    """A pipeline, its source of IDs and its database."""

    name: PipelineName | None = Field(
        default=None,
        description="Name of the pipeline. The pipeline finds its runs by this name, and its table of rows belongs "
        "to this name. Default: the name of this file without its ending.",
    )
    pipeline_config: PipelineConfig = Field(default_factory=PipelineConfig, description="Settings for all stages.")
    source: SourceConfig = Field(
        default_factory=lambda: SourceConfig(range=RangeConfig()),
        description="Where the IDs or records come from. Default: the numbers 1 to 100.",
    )
    stages: Annotated[tuple[StageConfig, ...], Field(strict=False)] = Field(
        min_length=1,
        default_factory=_question_bank,
        description="The stages, in their order. Default: the stages of the question bank.",
    )
    providers: Mapping[Name, ProviderConfig] = Field(
        default_factory=dict,
        description="Language models by name. A stage gets a model by `with: {provider: NAME}`. The name `local` "
        "always exists: a small model in this process.",
    )
    limits: Mapping[Name, LimitsConfig] = Field(
        default_factory=dict, description="Limits by name, which several providers or stages can share."
    )
    database: DatabaseConfig = Field(default_factory=DatabaseConfig, description="The database for the results.")
    output: OutputConfig | None = Field(
        default=None, description="A file for the results, instead of a database: {jsonl: FILE}."
    )
    strategy: Literal["per_stage", "per_item", "staged"] = Field(
        default="per_stage",
        description="How items move. per_stage: queues stand between stages. per_item: a worker takes an item "
        "through all stages. staged: each stage ends before the next begins.",
    )
    until: Count | None = Field(
        default=None,
        description="End the run when this number of items is written. Default: the run ends when the source ends.",
    )
    max_cost: Cost | None = Field(
        default=None,
        description="Stop before the run costs more, in the currency of your prices. Default: no limit.",
    )
    scheduler: Literal["threads", "asyncio"] = Field(
        default="threads", description="Where functions run: on threads or on asyncio."
    )

    _path: Path | None = PrivateAttr(default=None)
    _folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _own_database(cls, data: Any, info: ValidationInfo) -> Any:
        """Set the default database by the pipeline's name, so that two configs in one folder have one each.

        With an output file the database stands beside the file, and keeps only the run store.
        """
        if not isinstance(data, Mapping):
            return data
        keys: Mapping[Any, Any] = data  # pyright: ignore[reportUnknownVariableType] - checked later
        database: Any = keys.get("database", {})
        if not isinstance(database, Mapping) or "url" in database:
            return keys
        file = store_of(keys)
        name = keys.get("name") or _default_name(info.context)
        url = file or f"sqlite:///{file_name(str(name))}.db"
        with_url: dict[str, Any] = {"url": url, **database}
        return {**keys, "database": with_url}

    def model_post_init(self, context: Any, /) -> None:
        """Keep the path of the config's file, which `load_config` passes as pydantic's context."""
        if isinstance(context, Path):
            # Absolute now, as the process may change its directory before the IDs are read.
            self._path, self._folder = context, context.absolute().parent

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = _contradictions(self.model_dump(exclude_unset=True))
        if problems:
            text = "; ".join(f"{dotted(loc)}: {text}" for loc, text in problems)
            raise PydanticCustomError(CONTRADICTION, "{text}", {"text": text})
        return self

    @property
    def pipeline_name(self) -> str:
        """The name of the pipeline, given or by default."""
        return self.name or _default_name(self._path)

    @property
    def folder(self) -> Path | None:
        """The folder of the config file, absolute; None if the config is not from a file."""
        return self._folder

    def where(self, key: str) -> str:
        """Returns a key with the file that contains it, for error messages."""
        return f"{self._path}: {key}" if self._path else key

    @property
    def durable(self) -> bool:
        """True if there is a run store. The strategy ``staged``, which holds all results to the end, has none."""
        return self.asks_durable and self.strategy != "staged"

    @property
    def asks_durable(self) -> bool:
        """True if the file asks for a run store."""
        return self.database.durable if self.output is None else self.output.durable

    @property
    def where_results(self) -> str:
        """The key that says where the results go, with the file that contains it."""
        return self.where("database.url" if self.output is None else "output.jsonl")

    def with_settings(self, settings: Mapping[str, Any]) -> Config:
        """Returns the same config with some settings changed: ``{"stages.answering.concurrency": 14}``.

        Args:
            settings: Values by their paths. A path names a stage by its name.

        Raises:
            ConfigError: There is no such key or stage, or the value is not allowed there.
        """
        data = self.model_dump(by_alias=True, exclude_unset=True)
        data["stages"] = [stage.model_dump(by_alias=True, exclude_unset=True) for stage in self.stages]
        names = [stage.name for stage in self.stages]
        paths = {location(path, names): path for path in settings}
        try:
            return Config.model_validate(changed(data, settings), context=self._path)
        except ValidationError as error:
            problems = explain(error, Config) or _contradictions(changed(data, settings))
            lines = [f"{paths.get(loc) or dotted(by_name(loc, names))}: {text}" for loc, text in problems]
            raise ConfigError("\n".join(lines)) from None

    def resolved_stages(self) -> tuple[StageSettings, ...]:
        """Returns the stages in order, with all defaults filled in."""
        return tuple(self._resolved(index, stage) for index, stage in enumerate(self.stages))

    def _resolved(self, index: int, stage: StageConfig) -> StageSettings:
        shared = self.pipeline_config
        width = stage.executor.width if stage.executor else None
        given = stage.concurrency or width or shared.parallel_pipelines
        own = stage.retry.model_dump(exclude_unset=True) if stage.retry else {}
        return StageSettings(
            name=stage.name,
            call=stage.call,
            options=stage.options,
            concurrency=AdaptiveConcurrency.parse(given) if isinstance(given, str) else given,
            executor=stage.executor,
            timeout=stage.timeout or shared.timeouts.get(stage.name, 60.0),
            queue_size=stage.queue_size or shared.queue_sizes.get(stage.name, 10),
            max_abandoned=stage.max_abandoned,
            version=stage.version,
            retry=shared.retry.model_copy(update=own),
            rate_limit=stage.rate_limit,
            when=stage.when,
            order_key=stage.key,
            expand=stage.expand,
            collect=stage.collect,
            batch=stage.batch,
            max_rounds=stage.max_rounds,
            cache=stage.cache,
            key=f"stages[{index}]",
        )


def _default_name(path: Path | None) -> DefaultName:
    return DefaultName.of_file("questions.yaml" if path is None else path)


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a config file. Nothing else is opened, imported or written.

    Args:
        path: The YAML file, in UTF-8.

    Returns:
        The config, which knows its file: `Config.folder`.

    Raises:
        ConfigError: The file cannot be read or used. The text names all problems, one in each line.
    """
    document = read_yaml(Path(path))
    if document.data is None:
        keys = ", ".join(Config.model_fields)
        raise document.error([Problem((), f"the file is empty; allowed: a mapping with the keys {keys}")])
    try:
        return Config.model_validate(document.data, context=Path(path))
    except ValidationError as error:
        # Raised from None: pydantic's own text is for programmers.
        raise document.error(explain(error, Config) + _contradictions(document.data)) from None


def _contradictions(data: Any) -> list[Problem]:
    names = [stage.name for stage in _question_bank()]
    return list(contradictions(data, stages=names, retry=RetryConfig().model_dump()))
