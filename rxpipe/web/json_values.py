"""Makes plain JSON values for the page: texts are cut, and secrets are masked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from rxpipe.insight.reading import CallRow, ItemDetails, ItemRow
from rxpipe.operators.stages.durations import Durations
from rxpipe.web.texts import Redactor

LINE = 300  # characters of a text in a list
TEXT = 4_000  # characters of a single text until all of it is asked for
_ID = 1_000  # characters of an ID


def encoded(value: Any) -> bytes:
    """Encodes JSON as ASCII, so that no proxy, log or lone surrogate can damage it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


class Plain:
    """Makes plain values from the values of a reader."""

    def __init__(self, redact: Redactor) -> None:
        """Creates a converter.

        Args:
            redact: Masks secrets in texts.
        """
        self.redact = redact

    def value(self, value: Any, most: int = LINE) -> Any:
        """Returns any value of a reader as plain data. Histograms become quantiles, and unknown objects text."""
        if isinstance(value, str):
            return self.redact.cut(value, most)
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Durations):
            return quantiles(value)
        if is_dataclass(value):
            return {each.name: self.value(getattr(value, each.name), most) for each in fields(value)}
        if isinstance(value, Mapping):
            entries: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType] - values of any type
            return {self.redact.cut(str(key), most): self.value(one, most) for key, one in entries.items()}
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            several: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType] - values of any type
            return [self.value(one, most) for one in several]
        return self.redact.cut(str(value), most)

    def item(self, row: ItemRow) -> dict[str, Any]:
        """Returns an item for a list. Its ``key`` is what to ask for it with; None if the ID contains a secret."""
        text = str(row.id)
        is_whole = self.redact(text) == text
        return {
            **self.value(row),
            "id": self.redact.cut(text, _ID),
            "key": text if is_whole else None,
            **self._parent(row),
        }

    def _parent(self, row: ItemRow) -> dict[str, Any]:
        return {"parent": None if row.parent is None else self.redact.cut(str(row.parent), _ID)}

    def details(self, details: ItemDetails) -> dict[str, Any]:
        """Returns all of an item. Each text that may be long has its own path; see ``part``."""
        return {
            "item": self.item(details.row),
            "value": None if details.value is None else self._part("value", details.value),
            "outputs": [
                {"stage": self.value(stage), "output": self._part(f"outputs/{index}", output)}
                for index, (stage, output) in enumerate(details.outputs)
            ],
            "calls": [self._call(index, call) for index, call in enumerate(details.calls)],
            "parents": [self.redact.cut(str(one), _ID) for one in details.parents],
            "children": self.value(details.children),
        }

    def _call(self, index: int, call: CallRow) -> dict[str, Any]:
        place = f"calls/{index}"
        return {
            **{each.name: self.value(getattr(call, each.name)) for each in fields(call) if each.name != "exchanges"},
            "error": None if call.error is None else self._part(f"{place}/error", call.error),
            "traceback": None if call.traceback is None else self._part(f"{place}/traceback", call.traceback),
            "exchanges": [
                {
                    "model": self.value(exchange.model),
                    "messages": [
                        {
                            "role": self.value(message.get("role", "")),
                            "content": self._part(f"{place}/exchanges/{number}/{nth}", message.get("content", "")),
                        }
                        for nth, message in enumerate(exchange.messages)
                    ],
                    "reply": None
                    if exchange.reply is None
                    else self._part(f"{place}/exchanges/{number}/reply", exchange.reply),
                }
                for number, exchange in enumerate(call.exchanges)
            ],
        }

    def _part(self, path: str, value: Any) -> dict[str, Any]:
        text = text_of(value)
        shown = self.redact.cut(text, TEXT)
        kind = "text" if isinstance(value, str) else "json"
        return {"path": path, "kind": kind, "text": shown, "length": len(text), "cut": len(text) > TEXT}


def text_of(value: Any) -> str:
    """Returns a text as it is, and any other value as readable JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def part(details: ItemDetails, path: str) -> str | None:
    """Returns the whole text at a path that ``Plain.details`` has given; None if there is none."""
    try:
        match path.split("/"):
            case ["value"]:
                return text_of(details.value)
            case ["outputs", index]:
                return text_of(details.outputs[_index(index)][1])
            case ["calls", index, "error"]:
                return details.calls[_index(index)].error
            case ["calls", index, "traceback"]:
                return details.calls[_index(index)].traceback
            case ["calls", index, "exchanges", number, "reply"]:
                return details.calls[_index(index)].exchanges[_index(number)].reply
            case ["calls", index, "exchanges", number, nth]:
                message = details.calls[_index(index)].exchanges[_index(number)].messages[_index(nth)]
                return text_of(message.get("content", ""))
            case _:
                return None
    except (IndexError, ValueError):
        return None


def _index(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    return int(text)


def quantiles(seconds: Durations) -> dict[str, Any]:
    """Returns a histogram as a few numbers."""
    return {
        "count": seconds.count,
        "mean": seconds.mean,
        "p50": seconds.quantile(0.5),
        "p95": seconds.quantile(0.95),
        "p99": seconds.quantile(0.99),
        "longest": seconds.longest,
    }
