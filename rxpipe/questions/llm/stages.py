"""The stages of the question bank: coroutine functions that each make one call to a language model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Any, TypeAlias, overload

from pydantic import Field

from rxpipe.llm import InvalidOutput, Prompt, Provider
from rxpipe.operators.core.running_call import will_retry
from rxpipe.questions.inputs import as_given, record, takes
from rxpipe.questions.llm.values import Answered, Grade, Graded, Question, WrittenAnswer, WrittenQuestion

OneOf: TypeAlias = str | Annotated[Sequence[str], Field(min_length=1)]

_PROMPTS = files("rxpipe.questions.llm") / "prompts"


def _prompt(name: str, *fields: str) -> Prompt:
    return Prompt((_PROMPTS / f"{name}.md").read_text("utf-8"), fields)


_GENERATE = _prompt("generate", "id", "topic", "kind", "difficulty", "language")
_ANSWER = _prompt("answer", "question", "topic", "kind", "difficulty", "language")
_GRADE = _prompt("grade", "question", "reference", "answer", "topic", "kind", "difficulty", "language")


async def generate(
    question_id: int | str,
    *,
    provider: Provider,
    topic: OneOf = "general knowledge",
    kind: OneOf = "a question with a short answer",
    difficulty: OneOf = "medium",
    language: OneOf = "English",
    prompt: Prompt = _GENERATE,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Question:
    """Have a model write the question that belongs to an ID.

    Args:
        question_id: The ID.
        provider: The model.
        topic: What it is to be about; of several, the ID decides which one, the same in every run.
        kind: What kind of question.
        difficulty: How hard.
        language: In which language.
        prompt: With the fields ``id``, ``topic``, ``kind``, ``difficulty`` and ``language``.
        temperature: How freely the model chooses its words; its own by default.
        max_tokens: Tokens of the reply, at most.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
    """
    about = {
        name: choices if isinstance(choices, str) else _choice(question_id, name, choices)
        for name, choices in (("topic", topic), ("kind", kind), ("difficulty", difficulty), ("language", language))
    }
    messages = prompt.messages(id=question_id, **about)
    written = await provider.ask(messages, WrittenQuestion, temperature=temperature, max_tokens=max_tokens)
    return Question(id=question_id, **about, question=written.question, reference=written.reference)


@overload
async def answer(
    question: Question,
    *,
    provider: Provider,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> Answered: ...
@overload
async def answer(
    question: Mapping[str, Any],
    *,
    provider: Provider,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> dict[str, Any]: ...
@takes("question")
async def answer(
    question: Question | Mapping[str, Any],
    *,
    provider: Provider,
    prompt: Prompt = _ANSWER,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Answered | dict[str, Any]:
    """Have a model answer a question, of which it sees the text alone.

    Args:
        question: The question, or a record with the field ``question``; of a record the result is a dict.
        provider: The model.
        prompt: With the field ``question``, and if it likes ``topic``, ``kind``, ``difficulty`` and ``language``.
        temperature: How freely the model chooses its words; its own by default.
        max_tokens: Tokens of the reply, at most.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        WrongInput: The value is not usable; no call was made.
    """
    known = record(question, answer)
    messages = prompt.messages(**_fields(known, _ANSWER))
    given = await provider.ask(messages, WrittenAnswer, temperature=temperature, max_tokens=max_tokens)
    return as_given(question, Question, Answered, {**known, "answer": given.answer})


@overload
async def grade(
    answered: Answered,
    *,
    provider: Provider,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> Graded: ...
@overload
async def grade(
    answered: Mapping[str, Any],
    *,
    provider: Provider,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> dict[str, Any]: ...
@takes("question", "reference", "answer")
async def grade(
    answered: Answered | Mapping[str, Any],
    *,
    provider: Provider,
    prompt: Prompt = _GRADE,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Graded | dict[str, Any]:
    """Have a model compare an answer with the reference.

    Where the last attempt's reply cannot be read either, the answer is ``ungraded``, never wrong.

    Args:
        answered: The question and its answer, or a record with the fields ``question``, ``reference`` and ``answer``;
            of a record the result is a dict.
        provider: The model.
        prompt: With the fields ``question``, ``reference`` and ``answer``, and those of ``answer``'s prompt.
        temperature: How freely the model chooses its words; its own by default.
        max_tokens: Tokens of the reply, at most.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        WrongInput: The value is not usable; no call was made.
    """
    known = record(answered, grade)
    messages = prompt.messages(**_fields(known, _GRADE))
    try:
        found = await provider.ask(messages, Grade, temperature=temperature, max_tokens=max_tokens)
    except InvalidOutput as error:
        if will_retry(error):
            raise
        graded = {"score": None, "verdict": "ungraded", "reason": str(error)}
    else:
        graded = found.model_dump()
    return as_given(answered, Question, Graded, {**known, **graded})


def _fields(known: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
    """What a prompt may be told of a record: never the reference where that is to be found out."""
    return {name: known[name] for name in prompt.fields if name in known}


def _choice(question_id: int | str, name: str, choices: Sequence[str]) -> str:
    digest = hashlib.blake2b(f"{name} {question_id}".encode(), digest_size=8).digest()
    return choices[int.from_bytes(digest) % len(choices)]
