"""A database or a file that is away: how long to try, and the error at the end."""

from __future__ import annotations

from rxpipe.database.encoding import one_line
from rxpipe.database.error_kinds import FileAway, is_transient
from rxpipe.errors import SinkError
from rxpipe.operators import Retry

AWAY = Retry(max_attempts=18, initial=0.1, max_delay=5.0, retry_on=is_transient)  # about a minute


def as_sink_error(error: Exception) -> SinkError:
    """Returns the error that ends a run which cannot go on without the database."""
    if isinstance(error, SinkError):
        return error
    if isinstance(error, FileAway):
        what = f"{error.name} could not be written for too long"
    else:
        what = "the database stayed away for too long" if is_transient(error) else "rows cannot be written"
    sink_error = SinkError(f"{what}: {one_line(getattr(error, 'orig', None) or error)}")
    sink_error.__cause__ = error
    return sink_error
