"""Names of attributes, and texts that are safe as their values.

Names follow the semantic conventions where there are some: https://opentelemetry.io/docs/specs/semconv/
"""

from __future__ import annotations

from rxpipe.operators.errors import describe

ERROR_TYPE = "error.type"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"
COST = "rxpipe.usage.cost"
ITEM_ID = "rxpipe.item.id"
ITEM_STATUS = "rxpipe.item.status"
ITEM_CALLS = "rxpipe.item.calls"
ITEM_ROUNDS = "rxpipe.item.rounds"
DROP_REASON = "rxpipe.item.drop_reason"
SENT_BACK_TO = "rxpipe.sent_back.to"
PARENT_ID = "rxpipe.parent_id"
STAGE = "rxpipe.stage.name"
ATTEMPT = "rxpipe.call.attempt"
CALL_STATUS = "rxpipe.call.status"

CACHED = "rxpipe.cached"  # an event of the item's span
SENT_BACK = "rxpipe.sent_back"  # the same
OTHER = "_OTHER"  # what the conventions want where there are too many different values
CANCELLED = "cancelled"  # as an error.type, too: of calls that were cut off

_LONGEST = 1_000  # characters of what an error says


def error_type(error: BaseException) -> str:
    """The name of an error's class, as the conventions want it: with its module, unless that is Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def description(error: BaseException) -> str:
    """An error in one line, cut where it is very long."""
    return _cut(describe(error))


def message(error: BaseException) -> str:
    """What an error says, cut where it is very long."""
    try:
        return _cut(str(error))
    except Exception:  # noqa: BLE001 - whatever a foreign __str__ raises
        return "(its text could not be read)"


def _cut(text: str) -> str:
    return encodable(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def encodable(text: str) -> str:
    """A text without what has no UTF-8, which would cost an exporter the whole batch."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
