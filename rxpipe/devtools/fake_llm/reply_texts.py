"""The texts of answers: the server writes, checks, answers and grades questions of arithmetic, mostly well.

It answers in Chinese if the last message of the user, or the question in it, is in Chinese.

The schema's properties determine the task. Without a schema, tags and names in the last message of the user do:
``<question>``, ``<reference>`` and ``<answer>``, ``"questions"`` and ``"clear"``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rxpipe.devtools.fake_llm import chinese
from rxpipe.devtools.fake_llm.chat import ChatRequest
from rxpipe.devtools.fake_llm.draws import chance
from rxpipe.devtools.fake_llm.json_values import as_array, as_object
from rxpipe.devtools.fake_llm.schema_instances import Instances
from rxpipe.questions.arithmetic import Answered, Question, UnreadableQuestion, answer, generate, grade

REFUSED = "I'm sorry, but I can't help with that."
PROSE = "That is a good one! Let me think about it for a while before I put anything into writing."
UNKNOWN = "I do not know"
WRONG = 0.15
"""The share of answers that are wrong, 0 to 1."""
UNCLEAR = 0.1
"""The share of answerable questions that it finds unclear, 0 to 1."""

_ENCODER = json.JSONEncoder(ensure_ascii=False)
_COUNT = re.compile(r"\b([0-9]{1,3})(?: [a-z]+)? questions\b")
_SEVERAL = 3  # questions, if the message does not say how many
_RIGHT_WORDS = ("correct", "right", "pass", "passed", "true", "yes", True)
_WRONG_WORDS = ("wrong", "incorrect", "fail", "failed", "false", "no", False)


@dataclass(frozen=True, slots=True)
class Reply:
    """A text with JSON in it.

    Attributes:
        value: The value of the JSON.
        before: The text before the JSON.
        after: The text after it.
    """

    value: Any
    before: str = ""
    after: str = ""

    @property
    def text(self) -> str:
        """The whole text."""
        return f"{self.before}{_json(self.value)}{self.after}"

    @property
    def cut(self) -> str:
        """The text up to the middle of the JSON."""
        inside = _json(self.value)
        return self.before + inside[: len(inside) // 2]

    def spoiled(self, variant: int) -> str:
        """Returns a text of a wrong form: no JSON, half of it, JSON of other types, or nothing."""
        match variant % 4:
            case 0:
                return PROSE
            case 1:
                return self.cut
            case 2:
                return f"{self.before}{_json(_other_types(self.value))}{self.after}"
            case _:
                return ""


def reply(request: ChatRequest, seed: int) -> Reply:
    """Returns the model's reply, which is the same for the same messages and seed."""
    if request.schema is not None:
        instances = Instances(request.schema)
        task = _task_of_schema(instances.properties)
        known = task(request, seed) if task is not None else {}
        return Reply(instances.make({name: _fitted(known[name], name, instances) for name in known}))
    value = _task_of_tags(request.user)(request, seed)
    if request.form == "json_object":
        return Reply(value)
    if chinese.is_chinese(request.user):
        return Reply(value, chinese.BEFORE, chinese.AFTER)
    return Reply(value, "Here is what you asked for:\n\n```json\n", "\n```\n\nLet me know if you need anything else.")


def _task_of_schema(properties: Mapping[str, Any]) -> Callable[[ChatRequest, int], dict[str, Any]] | None:
    tasks = {"questions": _write_several, "reference": _write, "clear": _check, "answer": _answer, "score": _grade}
    return next((task for name, task in tasks.items() if name in properties), None)


def _task_of_tags(user: str) -> Callable[[ChatRequest, int], dict[str, Any]]:
    if "<reference>" in user:
        return _grade
    if "<question>" in user:
        return _check if '"clear"' in user else _answer
    return _write_several if '"questions"' in user else _write


def _write(request: ChatRequest, seed: int) -> dict[str, Any]:
    return _written(request, request.key)


def _written(request: ChatRequest, key: str) -> dict[str, Any]:
    if chinese.is_chinese(request.user):
        question, reference = chinese.generate(key)
        return {"question": question, "reference": reference}
    written = generate(key)
    return {"question": written.question, "reference": written.reference}


def _write_several(request: ChatRequest, seed: int) -> dict[str, Any]:
    said = _COUNT.search(request.user)
    count = int(said[1]) if said else chinese.asked_for(request.user, _SEVERAL)
    return {"questions": [_written(request, f"{request.key} {index}") for index in range(count)]}


def _check(request: ChatRequest, seed: int) -> dict[str, Any]:
    question = _tagged(request.user, "question") or ""
    in_chinese = chinese.is_chinese(question)
    if _solved(question) is None:
        reason = "The question does not say all that is needed to answer it."
        return {"reason": chinese.NOT_ENOUGH if in_chinese else reason, "clear": False}
    if chance(seed, request.key, "clear") < UNCLEAR:
        reason = f"It can be read in two ways: {question[:40]}"
        return {"reason": chinese.ambiguous(question) if in_chinese else reason, "clear": False}
    reason = "The question says all that is needed to answer it."
    return {"reason": chinese.CLEAR if in_chinese else reason, "clear": True}


def _answer(request: ChatRequest, seed: int) -> dict[str, Any]:
    question = _tagged(request.user, "question") or ""
    found = _solved(question)
    if found is None:
        return {"answer": chinese.UNKNOWN if chinese.is_chinese(question) else UNKNOWN}
    if chance(seed, request.key, "answer") < WRONG:
        found = re.sub(r"[0-9]+", lambda number: str(int(number[0]) + 1), found, count=1)
    return {"answer": found}


def _solved(question: str) -> str | None:
    """Returns the answer to a question in either language; None if it cannot be answered."""
    if chinese.is_chinese(question):
        return chinese.answer(question)
    try:
        return answer(Question(id=0, kind="", question=question, reference="")).answer
    except UnreadableQuestion:
        return None


def _grade(request: ChatRequest, seed: int) -> dict[str, Any]:
    reference, given = (_tagged(request.user, tag) for tag in ("reference", "answer"))
    in_chinese = chinese.is_chinese(request.user)
    if reference is None or given is None:
        reason = "There is no reference or no answer to compare."
        return {"score": 0.0, "verdict": "wrong", "reason": chinese.NOTHING_TO_COMPARE if in_chinese else reason}
    graded = grade(Answered(id=0, kind="", question="", reference=reference, answer=given))
    relation = "equals" if graded.score else "differs from"
    reason = f"The answer {given} {relation} the reference {reference}."
    if in_chinese:
        reason = chinese.compared(given, reference, right=bool(graded.score))
    return {"score": graded.score, "verdict": graded.verdict, "reason": reason}


def _tagged(text: str, tag: str) -> str | None:
    """Returns the content of the last such tag: instructions before it may mention the tag."""
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, max(end, 0))
    return None if start < 0 else text[start + len(tag) + 2 : end].strip()


def _fitted(value: Any, name: str, instances: Instances) -> Any:
    """Returns a task's value in the form that the schema wants for that property."""
    schema = instances.resolved(instances.properties.get(name))
    kind = schema.get("type")
    if name == "score":
        bound = schema.get("maximum" if value else "minimum")
        value = bound if isinstance(bound, (int, float)) and math.isfinite(bound) else value
        return int(value) if kind == "integer" else value
    if name == "verdict":
        return _verdict(value == "correct", [True, False] if kind == "boolean" else as_array(schema.get("enum")))
    if kind in ("integer", "number"):
        number = _number(value)
        return int(number) if kind == "integer" else number
    return value


def _verdict(right: bool, allowed: list[Any]) -> Any:
    """Returns the allowed word for a verdict.

    If no known word is allowed, the first means right and the last means wrong.
    """
    words = _RIGHT_WORDS if right else _WRONG_WORDS
    if not allowed:
        return words[0]
    return next((word for word in words if word in allowed), allowed[0 if right else -1])


def _number(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ArithmeticError):
        return 0.0


def _other_types(value: Any) -> Any:
    """Returns the value with other types in it: objects stay, everything else changes its type."""
    if fields := as_object(value):
        return {name: None if isinstance(one, (list, dict)) else [one] for name, one in fields.items()}
    return [value]


def _json(value: Any) -> str:
    return _ENCODER.encode(value)
