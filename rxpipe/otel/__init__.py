"""Traces and metrics by OpenTelemetry. Needs the extra ``otel``.

- ``listener.py``: ``OpenTelemetry``, the listener that you give to pipelines
- ``spans.py``: a span for each item, and a span for each of its calls
- ``metrics.py``: the counters and histograms
- ``attributes.py``: names and texts that both use
"""

from __future__ import annotations

from rxpipe.errors import ConfigError
from rxpipe.extras import install

try:
    from rxpipe.otel.listener import OpenTelemetry
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ConfigError(f"traces and metrics need the extra otel: {install('otel')}") from missing

__all__ = ["OpenTelemetry"]
