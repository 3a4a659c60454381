"""What ``/metrics`` tells, and that the reference, the dashboard and the alerts name what is there."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline_helpers import until
from prometheus_client.parser import text_string_to_metric_families

from rxpipe import DatabaseSink, Drop, Pipeline, Retry, RunStore, SendBack, Stage, Usage
from rxpipe import operators as ops
from rxpipe.insight.snapshot import SinkSnapshot, Snapshot, StageSnapshot
from rxpipe.service.health import HealthWatch
from rxpipe.service.prometheus import PrometheusMetrics
from rxpipe.service.store_watch import StoreWatch

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "metrics.md"
ALERTS, DASHBOARD = ROOT / "deploy" / "prometheus" / "alerts.yml", ROOT / "deploy" / "grafana" / "rxpipe.json"


def generate(number: int) -> int:
    ops.record_usage(Usage(prompt_tokens=10, completion_tokens=5, cost=0.25))
    return number


class Grade:
    """A function to which everything happens that is measured."""

    def __init__(self) -> None:
        self.failed: set[int] = set()
        self.goes_on = threading.Event()

    def __call__(self, number: int) -> Any:
        ops.record_usage(Usage(cost=0.5))
        if number == 5 and number in self.failed:
            assert self.goes_on.wait(30)
        if number == 1:
            raise ValueError("no")
        if number == 2:
            raise Drop("too easy for Ms Miller")
        if number not in self.failed:
            self.failed.add(number)
            if number == 3:
                raise SendBack("generate", "once more")
            raise ConnectionError("away")
        return number


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What is told of two runs in which everything happens, while the second one waits for its last call."""
    url = f"sqlite:///{tmp_path_factory.mktemp('metrics') / 'bank.db'}"
    health, store, grade = HealthWatch(), StoreWatch(RunStore(url).reader), Grade()
    metrics = PrometheusMetrics("bank", "1.2.3", health, store)
    again = Retry(max_attempts=2, initial=0.001, max_delay=0.001)
    stages = [Stage("generate", generate, concurrency=4, cache=True), Stage("grade", grade, retry=again, max_rounds=2)]
    more: dict[str, Any] = {"sink": DatabaseSink(url), "listeners": [metrics.listener], "name": "bank"}
    first = Pipeline(*stages, store=RunStore(), **more).start(range(5))
    first.finished.result(30)
    run = Pipeline(*stages, store=RunStore(fresh=True), **more).start(range(6))
    until(lambda: run.taken == 6 and run.in_flight == 1)
    health.begin(run, stages)
    health.look()
    assert run.number == 2
    store.begin(run.number)
    with RunStore(url).reader() as reader:
        store.look(reader)
    answer = metrics.answer("")
    assert answer.content_type.startswith("text/plain")
    grade.goes_on.set()
    run.finished.result(30)
    yield answer.body.decode()
    metrics.close()


def samples(told: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The values of each sample by its labels; those that are empty are none."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(told):
        for sample in family.samples:
            labels = tuple(sorted((key, value) for key, value in sample.labels.items() if value))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_the_gauges(told: str) -> None:
    """What alerts need and listeners do not have."""
    of = samples(told)
    assert of["rxpipe_run_stalled"] == of["rxpipe_run_draining"] == {(): 0}
    assert of["rxpipe_store_up"] == {(): 1}
    assert of["rxpipe_store_waiting_seconds"] == {(): 0}
    assert of["rxpipe_store_dead_letters"] == {(): 1}  # of this run; the one before has another
    backlog = {dict(labels)["rxpipe_item_state"]: items for labels, items in of["rxpipe_store_backlog"].items()}
    assert backlog == {"ready": 0, "running": 1, "waiting": 0}
    assert of["rxpipe_run_in_flight"] == {(): 1}
    assert of["rxpipe_store_lag_seconds"] == {(): 0}
    assert of["rxpipe_stage_concurrency"][(("rxpipe_stage_name", "generate"),)] == 4
    assert of["rxpipe_run_info"] == {(("rxpipe_pipeline_name", "bank"), ("rxpipe_run_number", "2")): 1}
    ((build, one),) = of["rxpipe_build_info"].items()
    assert (dict(build)["version"], one) == ("1.2.3", 1)
    assert dict(next(iter(of["target_info"])))["service_name"] == "bank"


def test_a_database_that_takes_nothing() -> None:
    """Though it answers whoever only reads: another session has locked a table."""
    stage = StageSnapshot(name="work", concurrency=1, most=1, calls=1, running=0)
    sink = SinkSnapshot(name="database", away=42.0, waiting=1)
    health = HealthWatch()
    health.latest = Snapshot(at=0, elapsed=0, stages=(stage,), taken=1, in_flight=1, sink=sink)
    metrics = PrometheusMetrics("bank", "1.2.3", health, None)
    of = samples(metrics.answer("").body.decode())
    metrics.close()
    assert of["rxpipe_store_up"] == {(): 0}
    assert of["rxpipe_store_waiting_seconds"] == {(): 42}


def test_the_cost(told: str) -> None:
    """Of all runs since the process began as a counter, of the present one as a gauge; the cache is free."""
    of = samples(told)
    assert of["rxpipe_stage_cost_total"][(("rxpipe_stage_name", "generate"),)] == pytest.approx(0.25 * 7)
    (graded,) = (cost for labels, cost in of["rxpipe_stage_cost_total"].items() if "grade" in str(labels))
    assert 0.25 <= of["rxpipe_run_cost"][()] < 0.25 + graded


def test_no_label_has_a_text_of_a_function(told: str) -> None:
    """Reasons and errors may quote what it worked on."""
    assert "Miller" not in told
    assert 'error_type="ConnectionError"' in told


def names(told: str) -> set[str]:
    """What a query can name; of a histogram without its suffixes."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples(told) if not name.endswith("_created")}


def test_the_reference_names_each_metric(told: str) -> None:
    """All, and no other; each with its labels."""
    rows = re.findall(r"^\| `((?:rxpipe|process|target)_\w+)` \| (\w+) \|([^|]*)\|", PAGE.read_text("utf-8"), re.M)
    assert sorted(name for name, _, _ in rows) == sorted(names(told))
    for name, kind, labels in rows:
        if name.startswith("rxpipe"):
            of = [*samples(told).get(name, {}), *samples(told).get(f"{name}_count", {})]
            assert {key for one in of for key, _ in one} == set(re.findall(r"`(\w+)`", labels)), name
            assert f"# TYPE {name} {kind}" in told or kind == "counter", name


def expressions() -> dict[str, list[str]]:
    """All queries of the dashboard and of the alerts."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]
    board = json.loads(DASHBOARD.read_text("utf-8"))
    targets = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    variables = [one["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    return {"alerts": [rule["expr"] for rule in rules], "dashboard": [*targets, *variables]}


@pytest.mark.parametrize("where", ["alerts", "dashboard"])
def test_metrics_and_labels_that_are_used_are_there(told: str, where: str) -> None:
    """In each query."""
    known = samples(told)
    labels = {key for series in known.values() for one in series for key, _ in one} | {"job", "instance", "le"}
    used = expressions()[where]
    assert len(used) > 5
    for query in used:
        found = re.findall(r"\b(?:rxpipe|process|target)_\w+", query)
        assert found, query
        for name in set(found) - labels:
            assert name in known, query
        for group in re.findall(r"(?:by|on) \(([^)]*)\)|\{([^}]*)\}", query):
            for label in re.findall(r"(\w+)\s*(?:[,=!]|$)", re.sub(r'"[^"]*"', "", "".join(group))):
                assert label in labels, query


def test_every_alert_says_what_to_do() -> None:
    """With a page that is there."""
    for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert {"summary", "description", "runbook"} <= set(rule["annotations"])
            page, _, anchor = rule["annotations"]["runbook"].partition("#")
            titles = re.findall(r"^### (.*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
            assert anchor in {title.lower().replace(" ", "-") for title in titles}
