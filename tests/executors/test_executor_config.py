"""`executor` in a config: its forms, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rxpipe import ConfigError, load_pipeline
from rxpipe.cli.commands.check import stage_columns
from rxpipe.cli.commands.preview import preview
from rxpipe.config.model import Config, load_config
from rxpipe.devtools.compare import compare
from rxpipe.executors import DaskCluster, Processes

STAGE = "{{name: a, call: 'rxpipe.questions.arithmetic:generate', executor: {}}}"
ADDRESS = "allowed: local, or a Dask scheduler's address, like tcp://host:8786"
COUNT = "allowed: a whole number, 1 or more"
NULL = "given nothing (null); allowed: a value, or leave the key out for its default"


def written(folder: Path, executor: str, **keys: str) -> Path:
    path = folder / "pipeline.yaml"
    more = "".join(f"{key}: {value}\n" for key, value in keys.items())
    path.write_text(f"stages: [{STAGE.format(executor)}]\n{more}", "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "executor"),
    [
        ("{processes: 4}", Processes(4)),
        ("{dask: local}", DaskCluster()),
        ("{dask: {}}", DaskCluster()),
        ("{dask: {workers: 2}}", DaskCluster(workers=2)),
        ("{dask: 'tcp://10.0.0.1:8786'}", DaskCluster("tcp://10.0.0.1:8786")),
        ("{dask: {address: 'tls://scheduler:8786', timeout: 5}}", DaskCluster("tls://scheduler:8786", timeout=5)),
    ],
)
def test_forms(tmp_path: Path, text: str, executor: object) -> None:
    """Each is the executor that code would name."""
    path = written(tmp_path, text)
    (stage,) = load_pipeline(path).stages
    assert stage.executor == executor


def test_modules_are_sent_from_the_configs_folder(tmp_path: Path) -> None:
    """Wherever the command is run."""
    (tmp_path / "mine.py").touch()
    (stage,) = load_pipeline(written(tmp_path, "{dask: {address: 'tcp://a:1', upload: [mine.py]}}")).stages
    assert stage.executor == DaskCluster("tcp://a:1", upload=(str(tmp_path / "mine.py"),))


def test_as_many_slots_as_workers(tmp_path: Path) -> None:
    """By default, where that is known; a stage's own concurrency goes before, and the pipeline's comes after."""
    shared = {"pipeline_config": "{parallel_pipelines: 7}"}

    def slots(executor: str) -> Any:
        return load_pipeline(written(tmp_path, executor, **shared)).stages[0].concurrency

    assert slots("{processes: 4}") == 4
    assert slots("{processes: 4}, concurrency: 2") == 2
    assert slots("{dask: {workers: 5}}") == 5
    assert slots("{dask: 'tcp://a:1'}") == 7


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("4", "", "given 4; allowed: a mapping with the keys processes, dask"),
        ("processes", "", "given the text 'processes'; allowed: a mapping with the keys processes, dask"),
        ("", "", NULL),
        ("{}", "", "given no kind of executor; allowed: one of processes, dask"),
        ("{processes: 2, dask: local}", "", "given processes and dask; allowed: one of processes, dask"),
        ("{threads: 2}", ".threads", "unknown key; allowed: processes, dask"),
        ("{process: 2}", ".process", "unknown key; did you mean 'processes'? allowed: processes, dask"),
        ("{processes: 0}", ".processes", f"given 0; {COUNT}"),
        ("{processes: '2'}", ".processes", f"given the text '2'; {COUNT}"),
        ("{processes: true}", ".processes", f"given true; {COUNT}"),
        ("{processes: }", ".processes", NULL),
        ("{dask: 8786}", ".dask", "given 8786; allowed: local, a Dask scheduler's address, or a mapping"),
        ("{dask: [a]}", ".dask", "given a list ['a']; allowed: local, a Dask scheduler's address, or a mapping"),
        ("{dask: }", ".dask", NULL),
        ("{dask: 'host:8786'}", ".dask.address", f"given the text 'host:8786'; {ADDRESS}"),
        ("{dask: here}", ".dask.address", f"given the text 'here'; {ADDRESS}"),
        ("{dask: {address: 7}}", ".dask.address", f"given 7; {ADDRESS}"),
        ("{dask: {workers: 0}}", ".dask.workers", f"given 0; {COUNT}"),
        ("{dask: {nodes: 2}}", ".dask.nodes", "unknown key; allowed: address, workers, upload, timeout"),
        ("{dask: {timeout: 0}}", ".dask.timeout", "given 0; allowed: a number of seconds above 0"),
        ("{dask: {upload: mine.py}}", ".dask.upload", "given the text 'mine.py'; allowed: a list"),
        ("{dask: {upload: [3]}}", ".dask.upload[0]", "given 3; allowed: text that is not blank"),
        (
            "{dask: {address: 'tcp://a:1', workers: 2}}",
            ".dask.workers",
            "given 2; allowed: without an address only: a cluster elsewhere has the workers that it has",
        ),
    ],
)
def test_what_cannot_be(tmp_path: Path, text: str, key: str, message: str) -> None:
    """The file, the line, the key, what was given and what is allowed."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert str(raised.value) == f"{path}, line 1: stages[0].executor{key}: {message}"


def test_concurrency_that_adapts_itself(tmp_path: Path) -> None:
    """It is refused beside an executor: there is no server whose limits could be found out."""
    path = written(tmp_path, "{processes: 2}, concurrency: auto")
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    text = "given the text 'auto'; allowed: a whole number, 1 or more, beside executor: only a server can push back"
    assert str(raised.value) == f"{path}, line 1: stages[0].concurrency: {text}"


@pytest.mark.parametrize(
    ("executor", "more", "message"),
    [
        ("{dask: {upload: [none.py]}}", "", "stages[0].executor.dask.upload[0]: there is no file "),
        ("{processes: 2}", "waits", "is a coroutine function, which cannot run on a worker process"),
        ("{dask: local}", "waits", "is a coroutine function, which cannot run on a worker of the Dask cluster"),
        ("{processes: 2}", "nameless", "cannot be sent to a worker process, as it does not pickle"),
    ],
)
def test_what_cannot_be_run_there(tmp_path: Path, executor: str, more: str, message: str) -> None:
    """Files that are not there and functions that cannot be sent are named before anything runs."""
    module = tmp_path.name  # which no other test has
    (tmp_path / f"{module}.py").write_text("async def waits(value): ...\nnameless = lambda value: value\n")
    path = written(tmp_path, executor)
    if more:
        path.write_text(path.read_text().replace("rxpipe.questions.arithmetic:generate", f"{module}:{more}"))
    with pytest.raises(ConfigError) as raised:
        load_pipeline(path)
    assert str(raised.value).startswith(f"{path}: stages[0].")
    assert message in str(raised.value)


def test_the_schema_for_editors() -> None:
    """It has both kinds, of which there is one, and the short form of a cluster."""
    schema = Config.model_json_schema()["$defs"]
    assert schema["ExecutorConfig"]["oneOf"] == [{"required": ["processes"]}, {"required": ["dask"]}]
    short, long = schema["DaskConfig"]["anyOf"]
    assert (short["type"], sorted(long["properties"])) == ("string", ["address", "timeout", "upload", "workers"])


def test_check_shows_where_calls_run(tmp_path: Path) -> None:
    """In a column of its own, if any stage says."""

    def shown(executor: str) -> str:
        columns = stage_columns(load_config(written(tmp_path, executor)))
        return "".join(cell for column in columns if column.title == "executor" for cell in column.cells)

    assert shown("{processes: 1}") == "1 process"
    assert shown("{dask: {workers: 3}}") == "Dask, 3 here"
    assert shown("{dask: 'tcp://a:1'}") == "Dask, tcp://a:1"


def test_compare_refuses_executors(tmp_path: Path) -> None:
    """It notes calls in this process only, and says so before anything is called."""
    path = written(tmp_path, "{processes: 2}")
    with pytest.raises(ConfigError) as raised:
        compare(load_config(path), count=3, latency={})
    text = "stages[0].executor: calls are noted in this process only; to compare, leave it out"
    assert str(raised.value) == f"{path}: {text}"


def test_preview_needs_no_executor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The few calls that it shows are made in this process, of a stage on a cluster that is not there, too."""
    assert preview(written(tmp_path, "{dask: 'tcp://127.0.0.1:9'}"), 2) == 0
    assert "2" in capsys.readouterr().out
