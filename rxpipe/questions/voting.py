"""The stages around several answers to one question: copies of the question before, the most common answer behind.

::

    Stage("sampling", partial(samples, count=5), expand=True),
    Stage("answering", partial(answer, provider=main), concurrency=8),
    Stage("voting", majority, collect=True),
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Annotated, Any

from pydantic import Field

from rxpipe.pipeline.children import Children
from rxpipe.questions.inputs import Same, WrongInput, fields_of, takes

_APOSTROPHES = re.compile("['\u2019\u02bc`]")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
# Punctuation stays if it belongs to a number, or if words consist of it.
_PUNCTUATION = re.compile(r"(?<=\d)[.,:/](?=\d)|(?<![^\s(])-(?=[\d.])|(?<!\w)\.(?=\d)|[#%&@]|(?P<dropped>[^\w\s])")


@takes(gives=lambda _: list[Same])
def samples(question: Any, *, count: Annotated[int, Field(ge=1, le=1000)] = 5) -> list[Any]:
    """Returns copies of a question, for a stage with ``expand=True``.

    Args:
        question: Any value.
        count: How many copies, 1 to 1000.
    """
    return [question] * count


@takes("answer", children=True)
def majority(children: Children[Any]) -> dict[str, Any]:
    """Returns the question with the most common answer of its copies, for a stage with ``collect=True``.

    Answers are the same if they differ only in case, white space, punctuation or widths of characters. Punctuation in
    numbers counts, except commas between thousands: ``3.5`` is not ``35``, ``1,000`` is ``1000``. If several answers
    are equally common, the answer of the earliest copy wins.

    Args:
        children: Records with the field ``answer``. Copies that failed or were dropped have no vote.

    Returns:
        The fields of the first copy with that answer; ``votes``, how many copies have that answer; and ``agreement``,
        their share (0 to 1) of the copies with an answer.

    Raises:
        WrongInput: No copy has an answer.
    """
    found = [fields for fields in map(fields_of, children.values) if fields is not None and "answer" in fields]
    if not found:
        raise WrongInput(f"majority takes children with answers, but none of the {_ends(children)} has one")
    answers = [_plain(str(fields["answer"])) for fields in found]
    ((winner, votes),) = Counter(answers).most_common(1)  # the first of equally common answers
    return {**found[answers.index(winner)], "votes": votes, "agreement": votes / len(answers)}


def _plain(answer: str) -> str:
    """Returns an answer without differences that do not count; the whole answer if nothing else is left."""
    text = unicodedata.normalize("NFKC", answer).casefold().replace("\u2212", "-")
    text = _APOSTROPHES.sub("", text)
    text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    text = _PUNCTUATION.sub(lambda one: one[0] if one["dropped"] is None or not _is_dropped(one[0]) else " ", text)
    return " ".join(text.split()) or answer.strip()


def _is_dropped(sign: str) -> bool:
    return unicodedata.category(sign).startswith("P")  # symbols, as in C++ or $5, count


def _ends(children: Children[Any]) -> str:
    """Describe how many children there were, how they ended, and the first error."""
    ends = ", ".join(f"{count} {status}" for status, count in Counter(one.status for one in children).items())
    error = next((one.error for one in children if one.error is not None), None)
    first = "" if error is None else f"; first: {type(error).__name__}: {error}"
    return f"{len(children)} children of {children.id!r} ({ends or 'no child'}{first})"
