"""Which run a pipeline goes on with, by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import counts, same
from sqlalchemy import create_engine, select
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, Report, RunStore, Stage
from rxpipe.database import default_table
from rxpipe.errors import OtherPipeline, StagesChanged, StoreError
from rxpipe.identity.names import DefaultName
from rxpipe.store.schema.tables import RUNS

from .bank import rows
from .older import make_older
from .stores import live


def stages(text: str = "value", *names: str) -> list[Stage]:
    """Stages whose functions are called the same, and have such code."""
    scope: dict[str, Any] = {"__name__": "my_stages"}
    exec(f"def generate(value):\n    return {text}", scope)
    return [Stage(name, scope["generate"]) for name in names or ("generation",)]


def run(url: str, given: list[Stage], *, name: str | None, table: str = "results", **options: Any) -> Report:
    """Run a pipeline over three IDs."""
    sink = DatabaseSink(url, table=table, replace=options.pop("replace", False))
    return Pipeline(*given, sink=sink, store=RunStore(**options), name=name).run(range(3))


def file(path: str) -> DefaultName:
    """The default name of a file."""
    return DefaultName.of_file(path)


def known(url: str) -> list[tuple[str, int]]:
    """The runs."""
    return sorted((row.name, row.generation) for row in rows(url, RUNS))


def values(url: str) -> set[Any]:
    """What the rows say."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return {row.value for row in connection.execute(select(default_table("results")))}


def make_old(url: str, name: str = "results") -> None:
    """Make of a store one of the version that knew no names of pipelines."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS rxpipe_tables")
        connection.exec_driver_sql(f"UPDATE rxpipe_runs SET name = '{name}'")
        make_older(connection, 2)


def test_pipelines_of_other_names_do_not_meet(store_url: str) -> None:
    """Each has a run of its own, though their stages are the same."""
    assert run(store_url, stages(), name="bank").taken == 3
    assert run(store_url, stages(), name="other", table="others").taken == 3
    assert run(store_url, stages(), name="bank").taken == 0
    assert known(store_url) == [("bank", 1), ("other", 1)]


def test_fresh_does_not_take_rows_of_another_pipeline(store_url: str) -> None:
    """Neither by its name nor by its own: only when it is told to replace them."""
    run(store_url, stages("'first'"), name="bank")
    with pytest.raises(OtherPipeline, match="rows of pipeline bank; this is pipeline other"):
        run(store_url, stages("'second'"), name="other", fresh=True)
    assert values(store_url) == {"first"}
    assert counts(run(store_url, stages("'second'"), name="other", fresh=True, replace=True)) == (3, 3, 0, 0)
    assert values(store_url) == {"second"}


@pytest.mark.parametrize("options", [{}, {"fresh": True}])
def test_two_projects_with_the_same_file_names(store_url: str, options: Any) -> None:
    """Both have a pipeline.yaml and my_stages:generate: the second one does not go on with the run of the first."""
    run(store_url, stages("'first'"), name=file("/a/pipeline.yaml"))
    with pytest.raises(OtherPipeline) as refused:
        run(store_url, stages("'second'"), name=file("/b/pipeline.yaml"), **options)
    told = str(refused.value)
    assert "run 1 is probably another pipeline's: pipeline pipeline (/a/pipeline.yaml) began it" in told
    assert "stage generation has other code" in told
    assert "name: in a config or Pipeline(name=...)" in told
    assert values(store_url) == {"first"}
    assert known(store_url) == [("pipeline", 1)]


def test_one_project_on_two_machines(store_url: str) -> None:
    """The same stages in another folder go on with the run; and where it began, the stages may change as ever."""
    run(store_url, stages(), name=file("/a/pipeline.yaml"))
    assert run(store_url, stages(), name=file("/b/pipeline.yaml")).written_before == 3
    assert run(store_url, stages("[value]"), name=file("/a/pipeline.yaml")).written_before == 3
    with pytest.raises(StagesChanged):
        run(store_url, stages("value", "grading"), name=file("/a/pipeline.yaml"))


def test_a_name_that_is_given_settles_it(store_url: str) -> None:
    """Then other code in another folder is an edit."""
    run(store_url, stages(), name=file("/a/pipeline.yaml"))
    assert run(store_url, stages("[value]"), name="pipeline").written_before == 3
    assert run(store_url, stages("(value, 1)"), name="pipeline").written_before == 3


@pytest.mark.parametrize("options", [{"resume": True}, {"replace": True}])
def test_the_same_name_after_all(store_url: str, options: Any) -> None:
    """To go on is to be told, and so is to begin anew."""
    run(store_url, stages("'first'"), name=file("/a/pipeline.yaml"))
    report = run(store_url, stages("'second'"), name=file("/b/pipeline.yaml"), **options)
    assert (report.run, report.written) == ((1, 0) if "resume" in options else (2, 3))


@pytest.mark.parametrize("name", ["bank", "results", file("/a/bank.py")])
def test_a_run_of_an_older_store_goes_on(store_url: str, name: str) -> None:
    """It is called as its table: the pipeline whose stages fit takes it over, and the table with it."""
    run(store_url, stages(), name="any")
    run(store_url, stages(), name="any", fresh=True)
    make_old(store_url)
    report = run(store_url, stages(), name=name)
    assert (report.run, report.taken, report.written_before) == (2, 0, 3)
    assert known(store_url) == [(name, 1), (name, 2)]
    assert run(store_url, stages("[value]"), name=name).written_before == 3
    with pytest.raises(OtherPipeline):
        run(store_url, stages(), name="another")


def test_a_run_of_an_older_store_without_a_sink(store_url: str) -> None:
    """All of these had the same name."""

    def again() -> Report:
        return Pipeline(*stages(), store=RunStore(store_url), name="bank").run(range(3))

    again()
    make_old(store_url, "run")
    assert again().written_before == 3


@pytest.mark.parametrize("name", ["bank", "results"])
@pytest.mark.parametrize("options", [{}, {"fresh": True}])
def test_a_run_of_an_older_store_with_other_stages(store_url: str, name: str, options: Any) -> None:
    """It may be another pipeline's, whose rows are left alone; whose it is can be said."""
    run(store_url, stages("'first'"), name="any")
    make_old(store_url)
    with pytest.raises(OtherPipeline, match=r"run 1 is probably another pipeline's: .*stage grading is new"):
        run(store_url, stages("'second'", "grading"), name=name, **options)
    assert values(store_url) == {"first"}
    report = run(store_url, stages("'second'", "grading"), name=name, resume=True)
    assert (report.run, report.written) == (1, 3)
    assert known(store_url) == [(name, 1)]


def test_what_an_older_store_has_may_be_replaced(store_url: str) -> None:
    """Its run stays as it is."""
    run(store_url, stages("'first'"), name="any")
    make_old(store_url)
    assert run(store_url, stages("'second'", "grading"), name="bank", replace=True).run == 2
    assert values(store_url) == {"second"}
    assert known(store_url) == [("bank", 1), ("results", 1)]


def test_rows_are_not_replaced_under_a_worker(postgres_url: str) -> None:
    """One that is busy writes into the same table."""
    with live(postgres_url), pytest.raises(StoreError, match="has workers that write into bank: stop them"):
        run(postgres_url, stages(), name="another", table="bank", replace=True)


def test_the_name_is_the_files(tmp_path: Path) -> None:
    """Of the script or module that makes the pipeline; the package's, where it is run; and some name without a file."""

    def named(path: Path | None) -> str:
        scope: dict[str, Any] = {"__name__": "__main__"} | ({} if path is None else {"__file__": str(path)})
        exec("from rxpipe import Pipeline, Stage\npipeline = Pipeline(Stage('a', repr))", scope)
        name = scope["pipeline"].name
        assert isinstance(name, DefaultName)
        assert path is None or name.origin == str(path)
        return str(name)

    assert named(tmp_path / "my_bank.py") == "my_bank"
    assert named(tmp_path / "my bank (2).py") == "my_bank_2_"
    assert named(tmp_path / "bank" / "__main__.py") == "bank"
    assert named(None) == "pipeline"
    assert Pipeline(*stages(), name="回答").name == "回答"


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 256, 3])
def test_names_that_cannot_be(name: Any) -> None:
    """They are refused at once."""
    with pytest.raises((ValueError, TypeError), match="the name of a pipeline must be text"):
        Pipeline(*stages(), name=name)


def test_an_own_sink_needs_to_know_nothing_of_names() -> None:
    """It is opened as it always was."""

    class Sink:
        def open(self) -> Any:
            return same

    assert Pipeline(*stages(), sink=Sink()).run([1]).written == 1
