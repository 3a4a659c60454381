"""The stages of pipeline.yaml. Each stage gets the result of the stage before; the first stage gets the ID.

The result of the last stage becomes a row of the database. ``question``, ``answer`` and ``score`` go into the columns
of these names, and the whole result goes into the column ``value``. If a function raises, it is called again, as
``retry`` in pipeline.yaml says. If it still raises, only its item fails. Plain functions run on threads; ``async def``
works as well.
"""

from __future__ import annotations

import random
import re
from typing import Any


def generate(question_id: int) -> dict[str, Any]:
    """Write a question. You can call a model here instead."""
    dice = random.Random(question_id)
    first, second = dice.randint(2, 99), dice.randint(2, 99)
    return {"question": f"What is {first} times {second}?", "reference": str(first * second)}


def answer(item: dict[str, Any]) -> dict[str, Any]:
    """Answer the question from its text alone."""
    first, second = map(int, re.findall(r"\d+", item["question"]))
    return {**item, "answer": str(first * second)}


def grade(item: dict[str, Any]) -> dict[str, Any]:
    """Grade the answer, from 0 to 1."""
    return {**item, "score": 1.0 if item["answer"] == item["reference"] else 0.0}
