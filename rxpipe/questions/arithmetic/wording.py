"""Wordings: templates that write a question's text, and read the facts back from the text.

A template is text with slots. The expression that reads a text is made of the template, so the two cannot differ:

- ``{a}`` a number
- ``{price:$}`` an amount of dollars, with its two decimals
- ``{a:item}`` a number of things of the slot ``item``, in the singular or plural: 1 apple, 4 apples
- ``{a:hour}`` the same with a fixed noun
- ``{item}``, ``{items}`` the word of a slot, in the singular or plural; ``{who}`` a name

A slot that occurs twice must hold the same word each time, in the singular or plural. "Ann has 3 apples" does not fit a
question about Ben or about pears. Such a text is not read, rather than answered wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rxpipe.questions.arithmetic.numbers import NUMBER, Number, money, plain, read
from rxpipe.questions.arithmetic.words import POOLS, UNITS, Dice, plural

_SLOT = re.compile(r"\{(\w+)(?::(\w+|\$))?\}")
_WORDS = {slot for slots in POOLS for slot in slots}
_PLURALS = {plural(slot): slot for slot in _WORDS}

# At most three words each, so that a text that fits nowhere fails fast.
_NAME = r"[^\W\d_][\w.'-]*(?: [^\W\d_][\w.'-]*){0,2}?"
_NOUN = r"[^\W\d_][\w'-]*?(?: [^\W\d_][\w'-]*?){0,2}?"
_UNIT = "|".join(UNITS)
_PATTERNS = {"who": _NAME, "friend": _NAME, "large": _UNIT, "small": _UNIT}
_ENDING = "(?:e?s|y|ies)?"  # the ending after the common part of singular and plural: box(es), cherr(y|ies)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a question: its numbers by slot, and its words by slot."""

    numbers: Mapping[str, Number]
    words: Mapping[str, str]

    def __getitem__(self, slot: str) -> Number:
        return self.numbers[slot]


class Wording:
    """One compiled template. It writes `Facts` as text, and reads them from text."""

    __slots__ = ("_numbers", "_parts", "_pattern", "_pools", "_start", "_tail", "_words")

    def __init__(self, template: str) -> None:
        # `split` gives text, slot, noun, text, slot, noun, ..., text
        self._start, *parts = _SLOT.split(template)
        self._parts = list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
        self._tail: str = parts[-1]
        self._numbers: dict[str, None] = {}  # both are ordered sets
        self._words: dict[str, None] = {}
        self._pattern = re.compile(_literal(self._start) + "".join(self._expression(*part) for part in self._parts))
        self._pools = [(slots, rows) for slots, rows in POOLS.items() if not self._words.keys().isdisjoint(slots)]

    def cast(self, dice: Dice) -> dict[str, str]:
        """Draw words for all word slots of the wording."""
        words: dict[str, str] = {}
        for slots, rows in self._pools:
            words.update(zip(slots, dice.pick(rows), strict=True))
        return words

    def write(self, facts: Facts) -> str:
        """Returns the question in this wording."""
        text = self._start
        for slot, noun, literal in self._parts:
            text += _filled(slot, noun, facts) + literal
        return text

    def read(self, text: str) -> Facts | None:
        """Returns the facts in a text, or None if the text has another wording."""
        # Most texts have another wording. Their ends show that at a tenth of the price.
        match = self._pattern.fullmatch(text) if text.endswith(self._tail) else None
        if match is None:
            return None
        return Facts({slot: read(match[slot]) for slot in self._numbers}, {s: match[s] for s in self._words})

    def _expression(self, slot: str, noun: str | None, literal: str) -> str:
        if slot in _WORDS:
            expression = self._word(slot)
        elif slot in _PLURALS:
            expression = self._word(_PLURALS[slot]) + _ENDING
        else:
            expression = f"(?P<{slot}>{NUMBER})"
            self._numbers[slot] = None
            if noun == "$":
                expression = r"\$" + expression
            elif noun:
                expression += " " + (self._word(noun) if noun in _WORDS else noun) + _ENDING
        return expression + _literal(literal)

    def _word(self, slot: str) -> str:
        if slot in self._words:
            return f"(?P={slot})"
        self._words[slot] = None
        return f"(?P<{slot}>{_PATTERNS.get(slot, _NOUN)})"


def _literal(text: str) -> str:
    # Another noun may need the other article: a bag, an envelope.
    return re.sub(r"\b([Aa])(?=(?:\\ | )$)", r"\1n?", re.escape(text))


def _filled(slot: str, noun: str | None, facts: Facts) -> str:
    if slot in facts.words:
        return facts.words[slot]
    if slot in _PLURALS:
        return plural(facts.words[_PLURALS[slot]])
    value = facts[slot]
    if noun is None:
        return plain(value)
    if noun == "$":
        return "$" + money(value)
    noun = facts.words.get(noun, noun)
    return f"{plain(value)} {noun if value == 1 else plural(noun)}"
