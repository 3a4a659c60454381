from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, exc
from structlog.testing import capture_logs

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.writer import Writer
from rxpipe.errors import SinkError
from rxpipe.pipeline.outcome import Outcome

from .sink_helpers import MakeWriter, outcome, statements_of, stored, strict


def test_a_batch_is_one_transaction_and_one_statement(make_writer: MakeWriter) -> None:
    """In the good case."""
    writer = make_writer()
    statements = statements_of(writer.engine)
    assert writer.write([outcome(item_id, {"question": "?"}) for item_id in range(50)]) == [None] * 50
    assert [each for each in statements if each != "BEGIN"] == ["INSERT", "COMMIT"]
    assert len(stored(writer)) == 50


def test_no_outcomes_are_nothing_to_do(make_writer: MakeWriter) -> None:
    """Not even a transaction."""
    writer = make_writer()
    statements = statements_of(writer.engine)
    assert writer.write([]) == []
    assert statements == []


def test_writing_a_batch_again_changes_nothing_but_the_time(make_writer: MakeWriter) -> None:
    """So a commit whose answer was lost is harmless."""
    writer = make_writer()
    batch = [outcome(1, {"question": "?"}), outcome(2, status="failed", error=ValueError("no"))]
    writer.write(batch)
    first = stored(writer)
    assert writer.write(batch) == [None, None]
    second = stored(writer)
    for key, row in first.items():
        old, new = list(row), list(second[key])
        assert old.pop(10) < new.pop(10)  # updated_at
        assert old == new


def test_of_two_outcomes_with_one_id_the_last_one_counts(make_writer: MakeWriter) -> None:
    """Both are committed."""
    writer = make_writer()
    assert writer.write([outcome(1, {"question": text}) for text in ("first", "second")]) == [None, None]
    assert stored(writer)["1"].question == "second"


def test_an_outcome_without_a_row_deletes_the_row_of_its_id(make_writer: MakeWriter) -> None:
    """Of several with one ID the last one counts, also in one batch; an ID that no row can have deletes nothing."""
    writer = make_writer()
    writer.write([outcome(one) for one in range(150)])
    ends = [outcome(1, status="dropped"), outcome(1), outcome(2), outcome(2, status="dropped")]
    ends += [outcome(one, status="dropped") for one in range(3, 149)]
    assert writer.write([*ends, outcome("\0", status="dropped")]) == [None] * 151
    assert set(stored(writer)) == {"0", "1", "149"}


@pytest.mark.parametrize("size", [1, 2, 7])
def test_ids_that_come_again_are_told(make_writer: MakeWriter, size: int) -> None:
    """At the end, whatever the batches; not those that an earlier writer has written."""
    for _ in range(2):
        writer = make_writer()
        writer.write([outcome(one) for one in range(3)])
        with capture_logs() as logs:
            writer.close()
        writer.open()
        assert logs == []
    writer = make_writer()
    outcomes = [outcome(one) for one in (1, 2, 3, 1, 4, 1, 2)]
    for first in range(0, 7, size):
        writer.write(outcomes[first : first + size])
    with capture_logs() as logs:
        writer.close()
    writer.open()
    (told,) = [log for log in logs if log["log_level"] == "warning"]
    assert (told["rows"], told["id"]) == (3, "1")


def test_rows_with_other_columns_keep_their_order(make_writer: MakeWriter, name: str) -> None:
    """Rows are written by their columns, and yet the last one with a key counts."""

    def row(item: Outcome[Any]) -> dict[str, Any]:
        return {"id": "same", "title": "t", **item.value}

    writer = make_writer(table=strict(name), row=row)
    batch = [outcome(1, value) for value in ({"count": 1}, {"grade": 1.0}, {"count": 2, "title": "u"}, {"title": "v"})]
    assert writer.write(batch) == [None] * 4
    assert tuple(stored(writer)["same"]) == ("same", "v", 2, 1.0)


def test_a_value_that_cannot_be_encoded_leaves_a_failed_row(make_writer: MakeWriter) -> None:
    """With the reason, and the others are committed."""
    writer = make_writer()
    results = writer.write([outcome(1, {"question": "?"}), outcome(2, {"question": object()}), outcome(3)])
    assert [type(result) for result in results] == [type(None), RowRefused, type(None)]
    rows = stored(writer)
    assert [row.status for row in rows.values()].count("failed") == 1
    assert (rows["2"].status, rows["2"].question) == ("failed", None)
    assert rows["2"].error == f"RowRefused: {results[1]}"
    assert "builtins.object is not data" in rows["2"].error


class Hostile:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [ValueError("v"), SystemExit("s"), GeneratorExit("g"), RecursionError("r")])
def test_a_value_that_raises_anything_fails_alone(make_writer: MakeWriter, error: BaseException) -> None:
    """Also what is no ``Exception``."""
    writer = make_writer()
    results = writer.write([outcome(1), outcome(2, Hostile(error))])
    assert results[0] is None
    assert results[1] is not None
    assert results[1].__cause__ is error
    assert stored(writer)["2"].status == "failed"


def test_ctrl_c_on_the_main_thread_is_not_taken_for_a_values() -> None:
    """The program must be able to end."""
    with Writer("sqlite://") as writer, pytest.raises(KeyboardInterrupt):
        writer.write([outcome(1, Hostile(KeyboardInterrupt()))])


def test_a_keyboard_interrupt_in_another_thread_is_a_values() -> None:
    """Python delivers Ctrl-C to the main thread only."""
    results: list[Any] = []
    with Writer("sqlite://") as writer:

        def write() -> None:
            results.extend(writer.write([outcome(1, Hostile(KeyboardInterrupt()))]))

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert isinstance(results[0], RowRefused)


def test_an_id_that_cannot_be_a_key_has_no_row(make_writer: MakeWriter) -> None:
    """Nor a failed one; its outcome says so."""
    writer = make_writer()
    results = writer.write([outcome("x" * 300), outcome("ok")])
    assert isinstance(results[0], RowRefused)
    assert results[1] is None
    assert set(stored(writer)) == {"ok"}


def test_the_wal_is_written_by_one_while_another_reads(sqlite: str, tmp_path: Path) -> None:
    """A reader in mid-transaction does not hold up the sink."""
    with Writer(sqlite) as writer:
        writer.write([outcome(1)])
        reader = sqlite3.connect(tmp_path / "bank.db", isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM results").fetchone() == (1,)
        assert writer.write([outcome(2)]) == [None]
        reader.close()


@pytest.fixture
def default_writer(make_writer: MakeWriter) -> Writer:
    return make_writer()


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=10),
        st.binary(max_size=5),
        st.just(object()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["question", "answer", "score", "\x00"]), inner, max_size=4),
    ),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, max_size=10))
def test_every_outcome_has_a_row_whatever_its_value(default_writer: Writer, values: list[Any]) -> None:
    """With its value, or failed with the reason."""
    with default_writer.engine.begin() as connection:
        connection.execute(default_writer.table.delete())
    results = default_writer.write([outcome(index, value) for index, value in enumerate(values)])
    rows = stored(default_writer)
    assert len(rows) == len(values)
    for index, (result, value) in enumerate(zip(results, values, strict=True)):
        assert (rows[str(index)].status == "failed") == (result is not None) == ("object object" in repr(value))


def test_an_engine_that_cannot_connect_is_fatal_whatever_it_raises(sqlite: str) -> None:
    """No row is to blame, and the database did not say that it is away."""
    with Writer(sqlite) as writer:
        writer.engine.dispose()

        def refuse(*_arguments: Any) -> None:
            raise KeyError("vault")

        event.listen(writer.engine, "do_connect", refuse)
        with pytest.raises(SinkError, match="KeyError: 'vault'"):
            writer.write([outcome(1), outcome(2)])


def test_transient_errors_come_out_as_they_are(sqlite: str) -> None:
    """Nothing is blamed on rows, and the sink decides when to write again."""
    with Writer(f"{sqlite}?timeout=0.01") as writer, writer.engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(exc.OperationalError, match="locked"):
            writer.write([outcome(1, object())])
