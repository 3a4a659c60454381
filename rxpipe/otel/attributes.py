"""Names of attributes, and texts that are safe as their values.

Names follow the semantic conventions where these define one: https://opentelemetry.io/docs/specs/semconv/
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
SENT_BACK = "rxpipe.sent_back"  # an event of the item's span
OTHER = "_OTHER"  # the conventions want this value where there are too many different ones
CANCELLED = "cancelled"  # also an error.type: of calls that were cut off

_LONGEST = 1_000  # characters of an error's text


def error_type(error: BaseException) -> str:
    """Returns the name of an error's class by the conventions: with its module, unless Python has it built in."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def description(error: BaseException) -> str:
    """Returns an error as one line, cut to 1,000 characters."""
    return _cut(describe(error))


def message(error: BaseException) -> str:
    """Returns an error's text, cut to 1,000 characters."""
    try:
        return _cut(str(error))
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything
        return "(its text could not be read)"


def _cut(text: str) -> str:
    return encodable(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def encodable(text: str) -> str:
    """Returns a text with escapes for characters that have no UTF-8.

    Such a character would cost an exporter the whole batch.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
