"""``/metrics``: what the OpenTelemetry listener measures, and a few gauges, as Prometheus's text.

Needs the extra ``metrics``.
"""

from __future__ import annotations

import platform
from http import HTTPStatus

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from rxpipe.otel import OpenTelemetry
from rxpipe.service.gauges import add_gauges
from rxpipe.service.health import HealthWatch
from rxpipe.service.http_server import Answer
from rxpipe.service.store_watch import StoreWatch


class PrometheusMetrics:
    """Measures one run after the other, and tells at ``/metrics``.

    Attributes:
        listener: To be given to the pipelines.
    """

    def __init__(self, name: str, version: str, health: HealthWatch, store: StoreWatch | None) -> None:
        """Measure nothing yet.

        Args:
            name: The pipeline's, which is ``service_name`` in ``target_info``.
            version: Of rxpipe.
            health: How the run is.
            store: How its store is; None without one.
        """
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        reader = PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)
        resource = Resource.create({"service.name": name, "service.namespace": "rxpipe"})
        self._provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        # Reasons for drops and texts of errors may quote what functions work on: no label has them.
        self.listener = OpenTelemetry(meter_provider=self._provider, error_texts=False)
        meter = self._provider.get_meter("rxpipe", version)
        add_gauges(meter, health, store, {"version": version, "python": platform.python_version()})

    def answer(self, accept: str) -> Answer:
        """All metrics now, in the newest format that is asked for."""
        encode, content_type = choose_encoder(accept)
        return Answer(HTTPStatus.OK, content_type, encode(self._registry))

    def close(self) -> None:
        """Measure no more."""
        self._provider.shutdown()
