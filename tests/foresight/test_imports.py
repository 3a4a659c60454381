"""What foresight needs."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_no_database_is_loaded_to_foretell() -> None:
    """Progress of a script without a store begins at once."""
    code = (
        "import sys, rxpipe.foresight.live.foretelling; print('sqlalchemy' in sys.modules); "
        "from rxpipe.foresight import recorded; print(recorded.__name__)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.split() == ["False", "recorded"]
