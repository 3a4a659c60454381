"""The sections of a config: what each key means, what it allows, and its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from rxpipe.config.error_texts import NOT_ALLOWED, says
from rxpipe.config.executor_sections import ExecutorConfig
from rxpipe.config.llm_sections import LimitsConfig
from rxpipe.config.section_base import (
    Count,
    CountFromZero,
    Delay,
    Factor,
    Fraction,
    Integer,
    Seconds,
    Section,
    StageName,
    Target,
    Text,
    Url,
    without_nulls,
)
from rxpipe.identity.names import LONGEST, checked
from rxpipe.operators.stages.adaptive import PATTERN, AdaptiveConcurrency


def _concurrency(given: int | str) -> int | str:
    if isinstance(given, str):
        AdaptiveConcurrency.parse(given)
    elif given < 1:
        raise ValueError
    return given


Concurrency: TypeAlias = Annotated[
    int | str,
    AfterValidator(_concurrency),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": PATTERN}]}),
    says("a whole number, 1 or more; auto; or least-start-most, like 5-20-100"),
]
ErrorKind: TypeAlias = Literal["rate_limited", "transient", "invalid_output", "refused", "permanent", "error"]


PipelineName: TypeAlias = Annotated[
    str,
    Field(pattern=r"^\S(.*\S)?$", max_length=LONGEST),
    AfterValidator(checked),
    says("a name: text on one line, of at most 255 characters, with no space around it"),
]


class RetryConfig(Section):
    """How often a failed call is made again, and when; the delays grow by a factor, with jitter."""

    max_attempts: Count = Field(default=3, description="Calls in all, the first included.")
    backoff_factor: Factor = Field(default=2.0, description="What each delay is multiplied by to give the next.")
    initial: Delay = Field(default=1.0, description="Seconds before the second call, and the least of all delays.")
    max_delay: Delay = Field(default=60.0, description="Seconds that no delay exceeds.")
    jitter: Fraction = Field(default=0.5, description="How far a delay may stray at random, as a fraction of it.")
    retry_on: Annotated[tuple[ErrorKind, ...], Field(strict=False)] | None = Field(
        default=None,
        description="Kinds of errors that are worth another call; by default all that are not refused or permanent.",
    )


class PipelineConfig(Section):
    """The settings of all stages."""

    parallel_pipelines: Count = Field(default=3, description="Items worked on at the same time, per stage.")
    timeouts: Mapping[StageName, Seconds] = Field(
        default_factory=dict,
        description="Seconds that one call of a stage may take, by the stage's name; else 60.",
    )
    queue_sizes: Mapping[StageName, Count] = Field(
        default_factory=dict, description="Items that may wait before a stage, by the stage's name; else 10."
    )
    retry: RetryConfig = Field(default_factory=RetryConfig, description="Retries of all stages.")
    grace: Delay = Field(
        default=25.0,
        description="Seconds that the items on their way get to finish after SIGTERM or Ctrl-C, before their calls "
        "are cancelled.",
    )


def _range_schema(schema: dict[str, Any]) -> None:
    """The two short forms stand beside the mapping in the schema, as they do in the file."""
    without_nulls(schema)
    mapping = dict(schema)
    schema.clear()
    schema["description"] = "A count (1, 2, 3, ...), [start, stop], [start, stop, step], or a mapping of them."
    number = {"type": "integer"}
    schema["anyOf"] = [
        {**number, "minimum": 1},
        {"type": "array", "items": number, "minItems": 2, "maxItems": 3},
        mapping,
    ]


class RangeConfig(Section):
    """IDs that are whole numbers, as Python's ``range`` gives them."""

    model_config = ConfigDict(json_schema_extra=_range_schema)

    start: Integer = Field(default=1, description="The first ID.")
    stop: Integer | None = Field(
        default=None, description="Where to stop: the first number that is no ID. By default after 100 IDs."
    )
    step: Integer = Field(default=1, description="From one ID to the next; not 0.")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        match value:
            case int() if not isinstance(value, bool) and 1 <= value < 2**63 - 1:
                return {"stop": value + 1}
            case [start, stop]:
                return {"start": start, "stop": stop}
            case [start, stop, step]:
                return {"start": start, "stop": stop, "step": step}
            case Mapping() | RangeConfig():
                return value  # pyright: ignore[reportUnknownVariableType] - what it holds is checked next
            case _:
                raise PydanticCustomError(
                    NOT_ALLOWED,
                    "a count of 1 or more, [start, stop], [start, stop, step] or a mapping of them",
                )

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.step == 0 or not self.ids():
            raise PydanticCustomError(NOT_ALLOWED, "a range with at least one ID in it, and a step that is not 0")
        return self

    def ids(self, count: int | None = None) -> range:
        """The IDs; with ``count``, that many from the start, wherever the range would stop."""
        if count is None and self.stop is not None:
            return range(self.start, self.stop, self.step)
        return range(self.start, self.start + self.step * (100 if count is None else count), self.step)


KINDS = ("range", "file", "sql", "call")


def _source_schema(schema: dict[str, Any]) -> None:
    without_nulls(schema)
    schema["oneOf"] = [{"required": [kind]} for kind in KINDS]


class SourceConfig(Section):
    """Where the IDs come from: one of ``range``, ``file``, ``sql`` and ``call``."""

    model_config = ConfigDict(json_schema_extra=_source_schema)

    range: RangeConfig | None = Field(default=None, description="Whole numbers: a count, or where to go.")
    file: Text | None = Field(
        default=None,
        description="A text file with one ID a line, in UTF-8, found from the config file's folder.",
    )
    sql: Text | None = Field(default=None, description="A query; the first column of its rows is the ID.")
    url: Url | None = Field(
        default=None, repr=False, description="The database of the query; by default the one of the results."
    )
    call: Target | None = Field(
        default=None,
        description="module:function, called without arguments; gives an iterable or async iterable of IDs.",
    )


class StageConfig(Section):
    """One stage: a function of one value, and the limits of its calls."""

    name: StageName = Field(description="The stage's name, which no other stage has.")
    call: Target = Field(description="The function as module:function; looked for beside the config file first.")
    options: Mapping[Text, Any] = Field(
        default_factory=dict, alias="with", description="Arguments of the function, besides the value, by name."
    )
    concurrency: Concurrency | None = Field(
        default=None,
        description="Calls at the same time; auto, or least-start-most, for as many as the server takes. By default "
        "as many as its executor has workers, else pipeline_config.parallel_pipelines.",
    )
    executor: ExecutorConfig | None = Field(
        default=None,
        description="Where its calls run instead of on threads: {processes: 4}, {dask: local} or "
        "{dask: tcp://host:8786}; opened for the run, and shared by stages that name the same.",
    )
    timeout: Seconds | None = Field(
        default=None,
        description="Seconds that one call may take; by default what pipeline_config.timeouts says, else 60.",
    )
    queue_size: Count | None = Field(
        default=None,
        description="Items that may wait; by default what pipeline_config.queue_sizes says, else 10.",
    )
    rate_limit: LimitsConfig | None = Field(default=None, description="Limits of its calls; besides its provider's.")
    max_abandoned: CountFromZero | None = Field(
        default=None,
        description="Calls that timed out and hang on, and do without a slot; by default as many as concurrency.",
    )
    version: Integer | Text | None = Field(
        default=None,
        description="Another one says that the stage's earlier results do not apply any more.",
    )
    retry: RetryConfig | None = Field(
        default=None,
        description="Retries of this stage; keys that it leaves out are those of pipeline_config.retry.",
    )


class DatabaseConfig(Section):
    """Where the results go."""

    url: Url = Field(
        default_factory=lambda: "sqlite:///questions.db",  # no default of the schema's: see Config
        repr=False,
        description="The database, as SQLAlchemy names it; SQLite paths start from the current directory. By default "
        "sqlite:///NAME.db, with the pipeline's name.",
    )
    table: Text = Field(default="results", description="The table that holds one row for each ID.")
    durable: bool = Field(
        default=True,
        description="Keep what each stage has returned in the database, too, so that the same command goes on after "
        "a crash, and no finished call is made again. Needs SQLite or PostgreSQL, and another strategy than staged.",
    )
