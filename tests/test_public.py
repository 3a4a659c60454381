"""What users may name; a change here is a change for them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

import rxpipe
import rxpipe.errors
from rxpipe import operators

NAMES = [
    "AdaptiveConcurrency",
    "Batch",
    "Children",
    "CommonError",
    "ConfigError",
    "DatabaseSink",
    "Drop",
    "Event",
    "Forecast",
    "Health",
    "ItemView",
    "JsonLinesSink",
    "Listener",
    "OpenPipeline",
    "Outcome",
    "Overloaded",
    "Pipeline",
    "PipelineClosed",
    "RateLimiter",
    "Record",
    "Report",
    "Retry",
    "Run",
    "RunStore",
    "RunView",
    "RxPipeError",
    "SendBack",
    "Sink",
    "SinkError",
    "Snapshot",
    "Stage",
    "StageReport",
    "StageStalled",
    "StageTimeout",
    "StageView",
    "StopRun",
    "Submission",
    "Submitted",
    "Usage",
    "content_id",
    "deadline",
    "feedback",
    "from_async_iterable",
    "from_iterable",
    "from_records",
    "load_pipeline",
    "operators",
    "record_usage",
    "recorded",
    "run_config",
    "simulate",
    "submit",
    "to_async_iterable",
    "will_retry",
]

OPERATORS = [
    "AdaptiveConcurrency",
    "Batch",
    "Failure",
    "Limiter",
    "OverflowPolicy",
    "RateLimiter",
    "Retry",
    "Usage",
    "batch",
    "deadline",
    "expand",
    "from_async_iterable",
    "from_iterable",
    "overflow",
    "rate_limit",
    "record_usage",
    "retry",
    "stage",
    "timeout",
    "to_async_iterable",
    "unbatch",
    "will_retry",
]

PUBLIC = {(module.__name__, name): getattr(module, name) for module in (rxpipe, operators) for name in module.__all__}


def test_the_names_of_rxpipe() -> None:
    """Sorted, and each there."""
    assert rxpipe.__all__ == NAMES == sorted(NAMES)
    assert set(NAMES) <= set(dir(rxpipe))


def test_the_names_of_the_operators() -> None:
    """Sorted, and each there."""
    assert operators.__all__ == OPERATORS == sorted(OPERATORS)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """Though names are imported when they are asked for."""
    with pytest.raises(AttributeError, match="module 'rxpipe' has no attribute 'Pipelin'"):
        getattr(rxpipe, "Pipelin")  # noqa: B009 - for the type checkers


@pytest.mark.parametrize("name", PUBLIC, ids=".".join)
def test_every_public_name_has_a_docstring(name: tuple[str, str]) -> None:
    """Its own, in one or more sentences; the literal type of a policy cannot have one."""
    public = PUBLIC[name]
    if inspect.isclass(public) or inspect.isroutine(public) or inspect.ismodule(public):
        assert public.__doc__
        assert public.__doc__.split("\n")[0].rstrip().endswith((".", ":", "?"))
        assert "(" not in public.__doc__.split("\n")[0][: len(name[1]) + 1]  # not the one that dataclasses make


def methods() -> dict[str, Any]:
    classes = {public for public in PUBLIC.values() if inspect.isclass(public)}
    return {
        f"{owner.__name__}.{name}": member
        for owner in classes
        for name, member in vars(owner).items()
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    }


@pytest.mark.parametrize("name", sorted(methods()))
def test_every_public_method_has_a_docstring(name: str) -> None:
    """Static ones and properties, too."""
    assert inspect.getdoc(methods()[name])


def test_all_errors_are_below_one_root() -> None:
    """And drawn in the docstring of their module."""
    for name in rxpipe.errors.__all__:
        error = getattr(rxpipe.errors, name)
        assert issubclass(error, rxpipe.RxPipeError)
        assert name in (rxpipe.errors.__doc__ or "")
    assert issubclass(rxpipe.StageTimeout, TimeoutError)


def test_importing_rxpipe_imports_no_more_than_it_must() -> None:
    """Names are imported when they are asked for; pipelines without a config need no pydantic."""
    code = (
        "import sys, rxpipe; assert 'sqlalchemy' not in sys.modules; "
        "rxpipe.Pipeline; assert not {'pydantic', 'yaml', 'typer'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
