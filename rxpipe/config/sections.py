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

    max_attempts: Count = Field(default=3, description="The most calls for one item, including the first.")
    backoff_factor: Factor = Field(default=2.0, description="Factor from one delay to the next.")
    initial: Delay = Field(default=1.0, description="Delay before the second call, in seconds. No delay is shorter.")
    max_delay: Delay = Field(default=60.0, description="Longest delay, in seconds.")
    jitter: Fraction = Field(
        default=0.5, description="Largest random change of a delay, as a share of the delay, from 0 to 1."
    )
    retry_on: Annotated[tuple[ErrorKind, ...], Field(strict=False)] | None = Field(
        default=None,
        description="Kinds of errors that are worth another call. Default: all except refused and permanent.",
    )


class PipelineConfig(Section):
    """The settings of all stages."""

    parallel_pipelines: Count = Field(
        default=3, description="Number of items that each stage works on at the same time."
    )
    timeouts: Mapping[StageName, Seconds] = Field(
        default_factory=dict,
        description="Seconds that one call of a stage may take, by the stage's name. Default: 60.",
    )
    queue_sizes: Mapping[StageName, Count] = Field(
        default_factory=dict,
        description="Number of items that may wait in front of a stage, by the stage's name. Default: 10.",
    )
    retry: RetryConfig = Field(default_factory=RetryConfig, description="Retries for all stages.")
    grace: Delay = Field(
        default=25.0,
        description="Seconds that items in progress get to finish after SIGTERM or Ctrl-C. Then their calls are "
        "cancelled.",
    )


def _batch_schema(schema: dict[str, Any]) -> None:
    """Add the short form to the schema beside the mapping, as in the file."""
    without_nulls(schema)
    mapping = dict(schema)
    schema.clear()
    schema["description"] = "The largest number of values in one call, or a mapping."
    schema["anyOf"] = [{"type": "integer", "minimum": 1}, mapping]


def _item_rate_schema(schema: dict[str, Any]) -> None:
    without_nulls(schema)
    mapping = dict(schema)
    schema.clear()
    schema["description"] = "Number of values a second, or a mapping."
    schema["anyOf"] = [{"type": "integer", "minimum": 1}, mapping]


class ItemRateConfig(Section):
    """How many values calls get in a time: a whole number a second, or ``{limit: 3000, seconds: 60}``."""

    model_config = ConfigDict(json_schema_extra=_item_rate_schema)

    limit: Count = Field(description="The number of values in the time `seconds`.")
    seconds: Seconds = Field(default=1.0, description="Time in which `limit` values may go into calls, in seconds.")
    burst: Count = Field(default=1, description="Number of values that may follow each other at once after a pause.")

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

    max_items: Count = Field(default=100, description="Largest number of values in one call.")
    max_seconds: Delay = Field(default=0.05, description="Longest time that a value waits for others, in seconds.")
    item_rate: ItemRateConfig | None = Field(
        default=None,
        description="Limit of values: a number a second, or {limit: 3000, seconds: 60}. rate_limit limits calls, "
        "not values.",
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

    name: StageName = Field(description="The name of the stage, which no other stage has.")
    call: Target = Field(
        description="The function to call, as module:function; rxpipe looks beside the config file first."
    )
    options: Mapping[Text, Any] = Field(
        default_factory=dict, alias="with", description="Further arguments of the function besides the value, by name."
    )
    when: When | None = Field(
        default=None,
        description="Condition for a call; other values pass unchanged. Either a predicate, as module:function, or "
        "a mapping of fields to the values that they must have. A list means any of its values.",
    )
    key: Text | None = Field(
        default=None,
        description="Field of the value, or module:function. The stage processes values with the same key one at a "
        "time, in the order in which they came.",
    )
    expand: bool = Field(
        default=False, description="true if the function gives many values. Each value goes on as an item of its own."
    )
    collect: bool = Field(
        default=False,
        description="true if the function is called with all children of an item that an earlier stage has expanded.",
    )
    batch: BatchConfig | None = Field(
        default=None,
        description="Call the function with a list of values. It returns one result for each value. Give the "
        "largest number of values, or {max_items: 100, max_seconds: 0.05, item_rate: 50}.",
    )
    max_rounds: CountFromZero | None = Field(
        default=None,
        description="Number of times that the stage may send an item back to an earlier stage. Default: 3.",
    )
    cache: bool = Field(
        default=False,
        description="Use what the function returned for the same value, also in earlier runs. Needs a durable "
        "database. Not together with expand or collect.",
    )
    concurrency: Concurrency | None = Field(
        default=None,
        description="Number of calls at the same time. With auto, or least-start-most such as 5-20-100, the stage "
        "finds out how many calls the server takes. Default: the number of the executor's workers, else "
        "pipeline_config.parallel_pipelines.",
    )
    executor: ExecutorConfig | None = Field(
        default=None,
        description="Where calls run instead of on threads: {processes: 4}, {dask: local} or {dask: "
        "tcp://host:8786}. The executor is opened for the run. Stages that name the same executor share it.",
    )
    timeout: Seconds | None = Field(
        default=None,
        description="Seconds that one call may take. Default: the stage's value in pipeline_config.timeouts, else 60.",
    )
    queue_size: Count | None = Field(
        default=None,
        description="Number of items that may wait in front of the stage. Default: the stage's value in "
        "pipeline_config.queue_sizes, else 10.",
    )
    rate_limit: LimitsConfig | None = Field(
        default=None, description="Limits of the stage's calls, besides the limits of its provider."
    )
    max_abandoned: CountFromZero | None = Field(
        default=None,
        description="Number of hung threads that fresh threads may replace. Default: as many as concurrency.",
    )
    version: Integer | Text | None = Field(
        default=None,
        description="Version of the stage's results. With a new version, earlier results do not apply any more.",
    )
    retry: RetryConfig | None = Field(
        default=None,
        description="Retries of this stage. Missing keys are taken from pipeline_config.retry.",
    )


Columns: TypeAlias = Annotated[Mapping[Text, ValuePath], Field(min_length=1)]
Ends: TypeAlias = Annotated[tuple[EndStatus, ...], Field(strict=False, min_length=1)]


class DatabaseConfig(Section):
    """Where the results go."""

    url: Url = Field(
        default_factory=lambda: "sqlite:///questions.db",  # not a default of the schema: see Config
        repr=False,
        description="URL of the database, in SQLAlchemy's form. SQLite paths start from the current directory. "
        "${VARIABLE} stands for an environment variable, or for the content of the file that VARIABLE_FILE names. "
        "Default: sqlite:///NAME.db, with the pipeline's name.",
    )
    table: Text = Field(default="results", description="Table with one row for each ID.")
    columns: Columns | None = Field(
        default=None,
        description="Columns of a table of your own, and what each column holds: a path into the value, or "
        "record.FIELD, id, status, error, stage, attempts, seconds, parent. The table is created if it is missing.",
    )
    rows: Ends | None = Field(default=None, description="Statuses whose items get a row. Default: written and failed.")
    durable: bool = Field(
        default=True,
        description="Also keep what each stage has returned in the database. After a crash the same command "
        "continues the run, and makes no finished call again. Needs SQLite or PostgreSQL, and a strategy other than "
        "staged.",
    )


class OutputConfig(Section):
    """The file that the results go to, instead of a database."""

    jsonl: Text = Field(
        description="The file to append a line of JSON to for each item; the path starts from the current directory."
    )
    columns: Columns | None = Field(
        default=None,
        description="Keys of each line, and what each key holds: a path into the value, or record.FIELD, id, "
        "status, error, stage, attempts, seconds, parent. Default: id, status, value, error, stage, attempts and "
        "seconds.",
    )
    rows: Ends | None = Field(default=None, description="Statuses whose items get a line. Default: written and failed.")
    durable: bool = Field(
        default=True,
        description="Also keep what each stage has returned, in the SQLite file FILE.run.db beside the output. "
        "After a crash the same command continues the run. Needs a strategy other than staged.",
    )
