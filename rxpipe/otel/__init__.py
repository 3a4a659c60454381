"""Traces and metrics by OpenTelemetry; needs the extra ``otel``.

What is where:

- ``listener.py``: ``OpenTelemetry``, which is given to pipelines
- ``spans.py``: a span for each item, and one for each of its calls
- ``metrics.py``: what is counted and measured
- ``attributes.py``: names and texts that both use
"""

from __future__ import annotations

try:
    from rxpipe.otel.listener import OpenTelemetry
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "opentelemetry":
        raise
    message = 'the API of OpenTelemetry must be installed: pip install "rxpipe[otel]"'
    raise ModuleNotFoundError(message, name=error.name) from error

__all__ = ["OpenTelemetry"]
