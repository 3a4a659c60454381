"""``/metrics``: the metrics of the OpenTelemetry listener, and a few gauges, in Prometheus's text format.

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
    """Measures one run after the other, and reports at ``/metrics``.

    Attributes:
        listener: The listener to give to pipelines.
    """

    def __init__(self, name: str, version: str, health: HealthWatch, store: StoreWatch | None) -> None:
        """Measure nothing yet.

        Args:
            name: The pipeline's name, which is ``service_name`` in ``target_info``.
            version: The version of rxpipe.
            health: Watches the run.
            store: Watches its store; None without one.
        """
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        reader = PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)
        resource = Resource.create({"service.name": name, "service.namespace": "rxpipe"})
        self._provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        # Reasons of drops and texts of errors may quote the functions' data, so no label has them.
        self.listener = OpenTelemetry(meter_provider=self._provider, error_texts=False)
        meter = self._provider.get_meter("rxpipe", version)
        add_gauges(meter, health, store, {"version": version, "python": platform.python_version()})

    def answer(self, accept: str) -> Answer:
        """Returns all metrics now, in the newest format that the client accepts."""
        encode, content_type = choose_encoder(accept)
        return Answer(HTTPStatus.OK, content_type, encode(self._registry))

    def close(self) -> None:
        """Stop measuring."""
        self._provider.shutdown()
