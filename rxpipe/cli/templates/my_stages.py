"""The stages of pipeline.yaml: each takes what the one before returned, the first one takes the ID.

What the last one returns becomes a row of the database: ``question``, ``answer`` and ``score`` go into the columns of
these names, and all of it into the column ``value``. A function that raises is called again, as ``retry`` in
pipeline.yaml says, and its item fails alone. Plain functions run on threads; ``async def`` works as well.
"""

from __future__ import annotations

import random
import re
from typing import Any


def generate(question_id: int) -> dict[str, Any]:
    """Write a question. A call to a model could stand here."""
    dice = random.Random(question_id)
    first, second = dice.randint(2, 99), dice.randint(2, 99)
    return {"question": f"What is {first} times {second}?", "reference": str(first * second)}


def answer(item: dict[str, Any]) -> dict[str, Any]:
    """Answer it, from its text alone."""
    first, second = map(int, re.findall(r"\d+", item["question"]))
    return {**item, "answer": str(first * second)}


def grade(item: dict[str, Any]) -> dict[str, Any]:
    """Say how good the answer is, from 0 to 1."""
    return {**item, "score": 1.0 if item["answer"] == item["reference"] else 0.0}
