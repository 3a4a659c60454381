"""The sections of a config about where a stage's calls run instead of on threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rxpipe.config.error_texts import NOT_ALLOWED, says
from rxpipe.config.section_base import Count, Seconds, Section, Text, without_nulls
from rxpipe.executors.dask_settings import ADDRESS

Address: TypeAlias = Annotated[
    str, Field(pattern=ADDRESS), says("local, or a Dask scheduler's address, like tcp://host:8786")
]
EXECUTORS = ("processes", "dask")
LOCAL = "local"


def _dask_schema(schema: dict[str, Any]) -> None:
    """Add the short form to the schema beside the mapping, as in the file."""
    without_nulls(schema)
    mapping = dict(schema)
    schema.clear()
    schema["description"] = "local, a Dask scheduler's address, or a mapping."
    schema["anyOf"] = [{"type": "string", "pattern": f"{ADDRESS}|^{LOCAL}$"}, mapping]


class DaskConfig(Section):
    """A Dask cluster: an address of a scheduler, or a cluster on this machine that is started for the run."""

    model_config = ConfigDict(json_schema_extra=_dask_schema)

    address: Address | None = Field(
        default=None, description="Address of the scheduler. Default: a cluster on this machine."
    )
    workers: Count | None = Field(
        default=None, description="Number of worker processes of a cluster on this machine. Default: one for each core."
    )
    upload: Annotated[tuple[Text, ...], Field(strict=False)] = Field(
        default=(),
        description="Modules to send to the workers first: .py, .zip or .egg files. Paths start from the config's "
        "folder.",
    )

    timeout: Seconds = Field(
        default=60.0, description="Seconds to wait for the scheduler, and at the start for the first worker."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        match value:
            case str():
                return {} if value == LOCAL else {"address": value}
            case Mapping() | DaskConfig():
                return value  # pyright: ignore[reportUnknownVariableType] - what it holds is checked next
            case _:
                raise PydanticCustomError(NOT_ALLOWED, "local, a Dask scheduler's address, or a mapping")


def _executor_schema(schema: dict[str, Any]) -> None:
    without_nulls(schema)
    schema["oneOf"] = [{"required": [kind]} for kind in EXECUTORS]


class ExecutorConfig(Section):
    """Where a stage's calls run instead of on threads: one of ``processes`` and ``dask``."""

    model_config = ConfigDict(json_schema_extra=_executor_schema)

    processes: Count | None = Field(default=None, description="Number of worker processes on this machine.")
    dask: DaskConfig | None = Field(
        default=None, description="A Dask cluster: local, an address such as tcp://host:8786, or a mapping."
    )

    def __str__(self) -> str:
        if self.dask is None:
            return f"{self.processes} process{'es' * (self.processes != 1)}"
        return f"Dask, {self.dask.address or f'{self.width} here'}"

    @property
    def width(self) -> int | None:
        """The number of calls that can run there at once, if known. The stage has this many slots by default."""
        if self.dask is None:
            return self.processes
        return None if self.dask.address is not None else self.dask.workers or os.cpu_count()
