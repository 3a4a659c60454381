"""``python -m tests.store.faults.mutants`` changes the source; here, that it finds what it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from .change import Mutation
from .mutations import mutations

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("mutation", list(mutations()), ids=lambda mutation: mutation.change.lacks)
def test_what_is_changed_is_there_once(mutation: Mutation) -> None:
    """And is code when it is changed."""
    source = (ROOT / mutation.file).read_text(encoding="utf-8")
    assert source.count(mutation.change.old) == 1
    compile(source.replace(mutation.change.old, mutation.change.new), mutation.file, "exec")
