"""The sections of a config: the meaning, the allowed values and the default of each key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from rxpipe.config.error_texts import NOT_ALLOWED, says
from rxpipe.config.executor_sections import ExecutorConfig
from rxpipe.config.llm_sections import LimitsConfig
from rxpipe.config.section_base import (
    TARGET,
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


When: TypeAlias = Annotated[
    Target | Annotated[Mapping[Text, Any], Field(min_length=1)],
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": TARGET}, {"type": "object", "minProperties": 1}]},
    ),
    says("a function as module:function, or a mapping of the value's fields to what they must be"),
]
EndStatus: TypeAlias = Literal["written", "failed", "dropped", "expanded", "collected"]
ValuePath: TypeAlias = Annotated[
    str,
    Field(pattern=r"^[^.\s]([^.\n]*[^.\s])?(\.[^.\s]([^.\n]*[^.\s])?)*$"),
    says("a path into the value, like score, answer.text or tags.0; or record.FIELD, id, status, error and the like"),
]


class RetryConfig(Section):
    """How often a failed call is made again, and when. The delays grow by a factor, with jitter."""

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


def _batch_schema(schema: dict[str, Any]) -> None:
    """Add the short form to the schema beside the mapping, as in the file."""
    without_nulls(schema)
    mapping = dict(schema)
    schema.clear()
    schema["description"] = "The longest list, or a mapping."
    schema["anyOf"] = [{"type": "integer", "minimum": 1}, mapping]


def _item_rate_schema(schema: dict[str, Any]) -> None:
    without_nulls(schema)
    mapping = dict(schema)
    schema.clear()
    schema["description"] = "Values a second, or a mapping."
    schema["anyOf"] = [{"type": "integer", "minimum": 1}, mapping]


class ItemRateConfig(Section):
    """How many values calls get in a time: a whole number a second, or ``{limit: 3000, seconds: 60}``."""

    model_config = ConfigDict(json_schema_extra=_item_rate_schema)

    limit: Count = Field(description="Values.")
    seconds: Seconds = Field(default=1.0, description="In so many seconds.")
    burst: Count = Field(default=1, description="Values that may follow each other at once after a rest.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        match value:
            case int() if not isinstance(value, bool) and value >= 1:
                return {"limit": value}
            case Mapping() | ItemRateConfig():
                return value  # pyright: ignore[reportUnknownVariableType] - what it holds is checked next
            case _:
                raise PydanticCustomError(
                    NOT_ALLOWED, "values a second, a whole number, or a mapping with the keys limit, seconds, burst"
                )


class BatchConfig(Section):
    """How many values a call gets at once."""

    model_config = ConfigDict(json_schema_extra=_batch_schema)

    max_items: Count = Field(default=100, description="The longest list.")
    max_seconds: Delay = Field(default=0.05, description="Seconds that a value waits for others at most.")
    item_rate: ItemRateConfig | None = Field(
        default=None,
        description="A limit of values, besides rate_limit, which is one of calls: so many a second, or "
        "{limit: 3000, seconds: 60}.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        match value:
            case int() if not isinstance(value, bool) and value >= 1:
                return {"max_items": value}
            case Mapping() | BatchConfig():
                return value  # pyright: ignore[reportUnknownVariableType] - what it holds is checked next
            case _:
                raise PydanticCustomError(
                    NOT_ALLOWED,
                    "a whole number, 1 or more, or a mapping with the keys max_items, max_seconds, item_rate",
                )


class StageConfig(Section):
    """One stage: a function of one value, and the limits of its calls."""

    name: StageName = Field(description="The stage's name, which no other stage has.")
    call: Target = Field(description="The function as module:function; looked for beside the config file first.")
    options: Mapping[Text, Any] = Field(
        default_factory=dict, alias="with", description="Arguments of the function, besides the value, by name."
    )
    when: When | None = Field(
        default=None,
        description="Which values it is called with; others pass unchanged. A predicate as module:function, or a "
        "mapping of fields to what they must be; a list means one of these.",
    )
    key: Text | None = Field(
        default=None,
        description="A field of the value, or module:function. Of values with the same key, one at a time is called "
        "with, in the order in which they came.",
    )
    expand: bool = Field(
        default=False, description="Whether it gives many values, each of which goes on as an item of its own."
    )
    collect: bool = Field(
        default=False,
        description="Whether it is called with all children of an item that an earlier stage has expanded.",
    )
    batch: BatchConfig | None = Field(
        default=None,
        description="Has it called with a list of values, to return as many results: the longest list, or "
        "{max_items: 100, max_seconds: 0.05, item_rate: 50}.",
    )
    max_rounds: CountFromZero | None = Field(
        default=None, description="How often an item may go back to an earlier stage; by default 3 times."
    )
    cache: bool = Field(
        default=False,
        description="Use what it returned for the same value in an earlier run, too. Needs a durable database, and "
        "neither expand nor collect.",
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


Columns: TypeAlias = Annotated[Mapping[Text, ValuePath], Field(min_length=1)]
Ends: TypeAlias = Annotated[tuple[EndStatus, ...], Field(strict=False, min_length=1)]


class DatabaseConfig(Section):
    """Where the results go."""

    url: Url = Field(
        default_factory=lambda: "sqlite:///questions.db",  # not a default of the schema: see Config
        repr=False,
        description="The database, as SQLAlchemy names it; SQLite paths start from the current directory. ${VARIABLE} "
        "stands for an environment variable, or for the content of the file that VARIABLE_FILE names. By default "
        "sqlite:///NAME.db, with the pipeline's name.",
    )
    table: Text = Field(default="results", description="The table that holds one row for each ID.")
    columns: Columns | None = Field(
        default=None,
        description="Makes it a table of your own: what each of its columns holds, as a path into the value, or "
        "record.FIELD, id, status, error, stage, attempts, seconds, parent. It is created if it is not there.",
    )
    rows: Ends | None = Field(
        default=None, description="Items of which status get a row; by default written and failed ones."
    )
    durable: bool = Field(
        default=True,
        description="Keep what each stage has returned in the database, too, so that the same command goes on after "
        "a crash, and no finished call is made again. Needs SQLite or PostgreSQL, and another strategy than staged.",
    )


class OutputConfig(Section):
    """The file that the results go to, instead of a database."""

    jsonl: Text = Field(
        description="The file, to which a line of JSON is appended for each item; it starts from the current directory."
    )
    columns: Columns | None = Field(
        default=None,
        description="The keys of each line, and what each holds, as a path into the value, or record.FIELD, id, "
        "status, error, stage, attempts, seconds, parent. By default id, status, value, error, stage, attempts and "
        "seconds.",
    )
    rows: Ends | None = Field(
        default=None, description="Items of which status get a line; by default written and failed ones."
    )
    durable: bool = Field(
        default=True,
        description="Keep what each stage has returned, too, in an SQLite file beside the output, FILE.run.db, so that "
        "the same command goes on after a crash. Needs another strategy than staged.",
    )
