"""The manifests of ``deploy/kubernetes/``.

Their schemas are in ``tests/data/kubernetes_schemas.json``, without descriptions: of Kubernetes 1.37 (the package
kubernetes-validate 1.37.0, strict), KEDA 2.16 (cloudcoil-models-keda 2.16.1) and the Prometheus operator 0.80
(cloudcoil-models-prometheus-operator 0.80.1).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.program import rxpipe, write_config
from servers import POSTGRES, answering, own_database
from sqlalchemy import create_engine, text

from .test_systemd import LEAVING

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
MANIFESTS = [path for path in sorted(FOLDER.glob("*.yaml")) if path.name not in ("kustomization.yaml", "pipeline.yaml")]


@cache
def schemas() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "kubernetes_schemas.json").read_text("utf-8"))
    return found


def documents(*paths: Path) -> list[Any]:
    return [one for path in paths for one in yaml.safe_load_all(path.read_text("utf-8"))]


def manifest(kind: str) -> Any:
    (found,) = (one for one in documents(*MANIFESTS) if one["kind"] == kind)
    return found


def pod() -> Any:
    return manifest("Deployment")["spec"]["template"]["spec"]


@pytest.mark.parametrize("one", documents(*MANIFESTS), ids=lambda one: one["kind"])
def test_a_manifest_fits_its_schema(one: Any) -> None:
    """Of each kind, and no key is one that the server would not know."""
    jsonschema = pytest.importorskip("jsonschema")
    validator: Any = jsonschema.Draft202012Validator(schemas()[one["kind"]])
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(one)] == []


def test_a_wrong_manifest_is_seen() -> None:
    """The schemas are strict: a key that is misspelt is found, wherever it stands."""
    jsonschema = pytest.importorskip("jsonschema")
    for kind, place in {"Deployment": "template", "ScaledObject": "advanced", "PodMonitor": "selector"}.items():
        one = json.loads(json.dumps(manifest(kind)))
        one["spec"][place]["missspelt"] = 1
        assert not jsonschema.Draft202012Validator(schemas()[kind]).is_valid(one)


def test_kustomize_has_all_of_them() -> None:
    """But the secret, which each cluster has of its own; the names of what they refer to are the same."""
    (kustomization,) = documents(FOLDER / "kustomization.yaml")
    listed = {path.name for path in MANIFESTS if "example" not in path.name}
    assert {*kustomization["resources"]} == listed
    names = {volume["name"]: volume for volume in pod()["volumes"]}
    (config,) = kustomization["configMapGenerator"]
    assert names["config"]["configMap"]["name"] == config["name"]
    assert config["files"] == ["pipeline.yaml"]
    assert names["secrets"]["secret"]["secretName"] == manifest("Secret")["metadata"]["name"]
    assert [image["name"] for image in kustomization["images"]] == [pod()["containers"][0]["image"]]


def test_labels_select_the_pods() -> None:
    """Everywhere where pods are selected."""
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [manifest(kind)["spec"]["selector"] for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor")]
    for selector in [*selectors, manifest("NetworkPolicy")["spec"]["podSelector"]]:
        assert selector["matchLabels"].items() <= labels.items()
    assert manifest("ScaledObject")["spec"]["scaleTargetRef"]["name"] == manifest("Deployment")["metadata"]["name"]


def test_the_config_is_valid_with_the_secrets_of_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each secret is a file, which a variable names."""
    mounted = {one["name"]: one["mountPath"] for one in pod()["containers"][0]["volumeMounts"]}["secrets"]
    for name, value in manifest("Secret")["stringData"].items():
        (tmp_path / name).write_text(value, encoding="utf-8")
    for one in pod()["containers"][0]["env"]:
        monkeypatch.delenv(one["name"].removesuffix("_FILE"), raising=False)
        monkeypatch.setenv(one["name"], one["value"].replace(mounted, str(tmp_path)))
    ended = rxpipe("check", FOLDER / "pipeline.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert "is valid" in ended.out
    assert "CHANGE-ME" not in ended.out


def test_the_pod_waits_longer_than_a_drain_takes() -> None:
    """With the grace of the config beside it."""
    (config,) = documents(FOLDER / "pipeline.yaml")
    assert pod()["terminationGracePeriodSeconds"] > config["pipeline_config"]["grace"] + LEAVING


def test_the_container_may_do_little() -> None:
    """It is no root, changes no file but in its volumes, and has no capabilities."""
    (container,) = pod()["containers"]
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == wanted
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert writable == {"/data", "/tmp"}


def test_ports_are_those_that_are_asked() -> None:
    """By probes and by Prometheus, at the addresses that the program is told."""
    (container,) = pod()["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    arguments = container["args"]
    for name in ("health", "metrics"):
        assert arguments[arguments.index(f"--{name}") + 1] == f"0.0.0.0:{ports[name]}"
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} <= {*ports}
    assert {one["port"] for one in manifest("PodMonitor")["spec"]["podMetricsEndpoints"]} <= {*ports}


@pytest.mark.slow
def test_keda_counts_the_backlog(tmp_path: Path) -> None:
    """Its query runs on a store: it counts what waits in the newest run of the name, and no more than is needed."""
    (trigger,) = manifest("ScaledObject")["spec"]["triggers"]
    query, target = trigger["metadata"]["query"], int(trigger["metadata"]["targetQueryValue"])
    most = manifest("ScaledObject")["spec"]["maxReplicaCount"] * target
    assert f"LIMIT {most}" in query
    with own_database(answering(POSTGRES)) as database:
        url = database.render_as_string(hide_password=False)
        for name in ("bank", "other"):
            place = {"url": url, "table": name}
            config = write_config(tmp_path, "def work(i): return i", name=name, database=place)
            assert rxpipe("run", config).code == 0
        engine = create_engine(database)
        with engine.begin() as connection:
            assert connection.execute(text(query)).scalar_one() == 0
            connection.execute(text("UPDATE rxpipe_items SET state = 'ready' WHERE item_key <> '3'"))  # of both runs
            assert connection.execute(text(query)).scalar_one() == 2
        engine.dispose()
