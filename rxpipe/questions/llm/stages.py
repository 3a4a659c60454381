"""The stages of the question bank: coroutine functions that each make one call to a language model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, cast, overload

from pydantic import Field

from rxpipe.llm import InvalidOutput, Prompt, Provider
from rxpipe.llm.record_path import is_record_path, read_record
from rxpipe.operators.core.running_call import will_retry
from rxpipe.pipeline.decisions import Drop, SendBack, child_id, feedback, item_id, source_record
from rxpipe.questions.inputs import Becomes, Options, Same, WrongInput, as_given, fields_of, record, takes
from rxpipe.questions.llm.languages import (
    Language,
    Languages,
    ShippedPrompt,
    check_languages,
    in_language,
    localized,
    told,
)
from rxpipe.questions.llm.values import (
    Answered,
    Clarity,
    Grade,
    Graded,
    Question,
    WrittenAnswer,
    WrittenQuestion,
    written_questions,
)

OneOf: TypeAlias = str | Annotated[Sequence[str], Field(min_length=1)]

_ABOUT = ("topic", "kind", "difficulty", "language")
_GENERATE = ShippedPrompt("generate", "id", *_ABOUT, "feedback", "count", "record")
_SEVERAL = ShippedPrompt("generate_several", *_GENERATE.fields)
_CHECK = ShippedPrompt("check", "question", *_ABOUT, "record")
_ANSWER = ShippedPrompt("answer", "question", *_ABOUT, "record")
_GRADE = ShippedPrompt("grade", "question", "reference", "answer", *_ABOUT, "record")


def _generated(options: Options) -> Any:
    return Question if options.get("per_call") is None else list[Question]


@overload
async def generate(
    question_id: int | str | Mapping[str, Any],
    *,
    provider: Provider,
    per_call: None = ...,
    topic: OneOf = ...,
    kind: OneOf = ...,
    difficulty: OneOf = ...,
    language: Languages = ...,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> Question: ...
@overload
async def generate(
    question_id: int | str | Mapping[str, Any],
    *,
    provider: Provider,
    per_call: int,
    topic: OneOf = ...,
    kind: OneOf = ...,
    difficulty: OneOf = ...,
    language: Languages = ...,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> list[Question]: ...
@takes(from_record=_ABOUT, gives=_generated)
async def generate(
    question_id: int | str | Mapping[str, Any],
    *,
    provider: Provider,
    per_call: Annotated[int, Field(ge=1, le=100)] | None = None,
    topic: OneOf = "general knowledge",
    kind: OneOf = "a question with a short answer",
    difficulty: OneOf = "medium",
    language: Languages = "English",
    prompt: Prompt = _GENERATE,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Question | list[Question]:
    """Have a model write the question that belongs to an ID, or several questions.

    ::

        Stage("generation", partial(generate, provider=main, topic="fractions"))

    An item that was sent back gets a new question. The prompt then contains the feedback.

    Args:
        question_id: The ID, or a record. The record's own ``topic``, ``kind``, ``difficulty`` and ``language`` replace
            the options. An option such as ``record.level`` names another field of the record.
        provider: The model.
        per_call: How many questions to ask for in one call. Then the result is a list, for a stage with
            ``expand=True``. The list has the readable questions, at least 1 and at most ``per_call``, each with the ID
            of its item. mypy takes any ``partial(generate, ...)`` for one that returns a ``Question``: use
            ``generate_several`` instead.
        topic: The topic of the question. If you give several topics, the ID decides which one, the same in every run.
            The same goes for ``kind``, ``difficulty`` and ``language``.
        kind: The kind of the question.
        difficulty: The difficulty of the question.
        language: The language of the question: ``zh`` for Chinese, with prompts in Chinese; other languages by name,
            such as ``French``.
        prompt: A prompt with the fields ``id``, ``topic``, ``kind``, ``difficulty``, ``language``, ``feedback`` (empty
            unless the item was sent back) and ``count`` (``per_call``), and ``record.NAME`` for fields of the record.
        temperature: How freely the model chooses its words; the server's default if None.
        max_tokens: The most tokens of the reply.

    Returns:
        A ``Question``; with ``per_call`` a list of questions.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        StopRun: There are no prompts for a language code.
        WrongInput: A record has no ID: no item is running, and the record has no field ``id``.
    """
    check_languages(language)
    number, given = _id_and_fields(question_id)
    known = given if item_id() is None else source_record()
    choices = {"topic": topic, "kind": kind, "difficulty": difficulty, "language": language}
    told_by = {name: _of_record(name, these, known) for name, these in choices.items() if is_record_path(these)}
    about = localized(
        {name: _choice(number, name, these) for name, these in {**choices, **_own(given), **told_by}.items()}
    )
    if per_call is not None and prompt is _GENERATE:
        prompt = _SEVERAL
    spoken, why = about["language"], feedback()
    fields = {**about, "language": told(spoken), "count": per_call or 1, "feedback": "" if why is None else why}
    messages = in_language(prompt, spoken).messages(id=number, record=known, **fields)
    options = {"temperature": temperature, "max_tokens": max_tokens}
    if per_call is None:
        written = await provider.ask(messages, WrittenQuestion, **options)
        return Question(id=number, **about, **written.model_dump())
    several = await provider.ask(messages, written_questions(per_call), **options)
    return [
        Question(id=child_id(index) or f"{number}/{index}", **about, **one.model_dump())
        for index, one in enumerate(several.questions[:per_call])
    ]


@takes(from_record=_ABOUT, gives=lambda _: list[Question])
async def generate_several(
    question_id: int | str | Mapping[str, Any],
    *,
    provider: Provider,
    per_call: Annotated[int, Field(ge=1, le=100)] = 5,
    topic: OneOf = "general knowledge",
    kind: OneOf = "a question with a short answer",
    difficulty: OneOf = "medium",
    language: Languages = "English",
    prompt: Prompt = _SEVERAL,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> list[Question]:
    """Have a model write several questions in one call. The arguments are those of ``generate``.

    ::

        Stage("generation", partial(generate_several, provider=main, per_call=5), expand=True)
    """
    return await generate(
        question_id,
        provider=provider,
        per_call=per_call,
        topic=topic,
        kind=kind,
        difficulty=difficulty,
        language=language,
        prompt=prompt,
        temperature=temperature,
        max_tokens=max_tokens,
    )


def _sent_back_to(options: Options) -> str | None:
    return options.get("back_to", "generation") if options.get("unclear", "send_back") == "send_back" else None


@takes("question", back_to=_sent_back_to, gives=lambda _: Same)
async def check(
    question: Any,
    *,
    provider: Provider,
    unclear: Literal["send_back", "drop"] = "send_back",
    back_to: str = "generation",
    language: Language | None = None,
    prompt: Prompt = _CHECK,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Any:
    """Have a model judge whether a question is clear and can be answered. An unclear question goes back, or is dropped.

    ``generate`` gets the reason as feedback. A question that is one of several of a call cannot go back to the stage
    that made the call: drop it.

    Args:
        question: The question, or a record with the field ``question``. The result is the same value.
        provider: The model.
        unclear: What to do with an unclear question: ``send_back`` or ``drop``.
        back_to: The name of the stage that writes the question anew.
        language: The language of the prompt, ``en`` or ``zh``; the question's own language by default.
        prompt: A prompt with the field ``question``, and optionally ``topic``, ``kind``, ``difficulty``, ``language``
            and ``record.NAME``.
        temperature: How freely the model chooses its words; the server's default if None.
        max_tokens: The most tokens of the reply.

    Raises:
        SendBack: The question is unclear. Contains the reason.
        Drop: The question is unclear, and ``unclear`` is ``drop``.
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        WrongInput: The value is not usable. No call was made.
    """
    messages = _messages(prompt, _CHECK, record(question, check), language)
    found = await provider.ask(messages, Clarity, temperature=temperature, max_tokens=max_tokens)
    if found.clear:
        return question
    if unclear == "drop":
        raise Drop("unclear")
    raise SendBack(back_to, found.reason)


@overload
async def answer(
    question: Question,
    *,
    provider: Provider,
    language: Language | None = ...,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> Answered: ...
@overload
async def answer(
    question: Mapping[str, Any],
    *,
    provider: Provider,
    language: Language | None = ...,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> dict[str, Any]: ...
@takes("question", gives=lambda _: Becomes(Question, Answered))
async def answer(
    question: Question | Mapping[str, Any],
    *,
    provider: Provider,
    language: Language | None = None,
    prompt: Prompt = _ANSWER,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Answered | dict[str, Any]:
    """Have a model answer a question. By default the model sees only the text of the question.

    Args:
        question: The question, or a record with the field ``question``. For a record the result is a dict.
        provider: The model.
        language: The language of the prompt, ``en`` or ``zh``; the question's own language by default.
        prompt: A prompt with the field ``question``, and optionally ``topic``, ``kind``, ``difficulty``, ``language``
            and ``record.NAME``.
        temperature: How freely the model chooses its words; the server's default if None.
        max_tokens: The most tokens of the reply.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        WrongInput: The value is not usable. No call was made.
    """
    known = record(question, answer)
    messages = _messages(prompt, _ANSWER, known, language)
    given = await provider.ask(messages, WrittenAnswer, temperature=temperature, max_tokens=max_tokens)
    return as_given(question, Question, Answered, {**known, "answer": given.answer})


@overload
async def grade(
    answered: Answered,
    *,
    provider: Provider,
    language: Language | None = ...,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> Graded: ...
@overload
async def grade(
    answered: Mapping[str, Any],
    *,
    provider: Provider,
    language: Language | None = ...,
    prompt: Prompt = ...,
    temperature: float | None = ...,
    max_tokens: int | None = ...,
) -> dict[str, Any]: ...
@takes("question", "reference", "answer", gives=lambda _: Becomes(Question, Graded))
async def grade(
    answered: Answered | Mapping[str, Any],
    *,
    provider: Provider,
    language: Language | None = None,
    prompt: Prompt = _GRADE,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Graded | dict[str, Any]:
    """Have a model compare an answer with the reference.

    If the reply of the last attempt cannot be read, the answer is ``ungraded``, never wrong.

    Args:
        answered: The question and its answer, or a record with the fields ``question``, ``reference`` and ``answer``.
            For a record the result is a dict.
        provider: The model.
        language: The language of the prompt, ``en`` or ``zh``; the question's own language by default.
        prompt: A prompt with the fields ``question``, ``reference`` and ``answer``, and optionally those of the prompt
            of ``answer``.
        temperature: How freely the model chooses its words; the server's default if None.
        max_tokens: The most tokens of the reply.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        WrongInput: The value is not usable. No call was made.
    """
    known = record(answered, grade)
    messages = _messages(prompt, _GRADE, known, language)
    try:
        found = await provider.ask(messages, Grade, temperature=temperature, max_tokens=max_tokens)
    except InvalidOutput as error:
        if will_retry(error):
            raise
        graded = {"score": None, "verdict": "ungraded", "reason": str(error)}
    else:
        graded = found.model_dump()
    return as_given(answered, Question, Graded, {**known, **graded})


def _messages(prompt: Prompt, shipped: Prompt, known: Mapping[str, Any], language: str | None) -> list[dict[str, str]]:
    """Returns a prompt's messages about a record. Prompts whose task is to find the answer never get the reference."""
    check_languages(language or "en")
    values = {name: known[name] for name in shipped.fields if name in known}
    if prompt.record_paths:
        values["record"] = source_record()
    return in_language(prompt, language or str(known.get("language", "en"))).messages(**values)


def _id_and_fields(given: object) -> tuple[int | str, Mapping[str, Any]]:
    """Returns the ID to write a question for, and the fields that are known of the question."""
    if isinstance(given, int | str):
        return given, {}
    known = fields_of(given) or {}
    own = item_id()
    own = known.get("id") if own is None else own
    if not isinstance(own, int | str):
        raise WrongInput(f"generate takes an ID, or a record with the ID of its item, but got {type(given).__name__}")
    return own, known


def _own(given: Mapping[str, Any]) -> dict[str, OneOf]:
    """Returns a record's own options for the question: texts, or lists of texts."""
    said = {name: given[name] for name in _ABOUT if given.get(name)}
    return {name: _texts(one) for name, one in said.items()}


def _of_record(name: str, path: object, record: Any) -> OneOf:
    """Returns the value of an option that names a field of the record; the option's default if the field is empty."""
    found = read_record(str(path), record, name)
    return cast("str", (generate.__kwdefaults__ or {})[name]) if found in (None, "", [], ()) else _texts(found)


def _texts(said: object) -> OneOf:
    return [str(one) for one in cast("Iterable[object]", said)] if isinstance(said, list | tuple) else str(said)


def _choice(question_id: int | str, name: str, choices: OneOf) -> str:
    if isinstance(choices, str):
        return choices
    digest = hashlib.blake2b(f"{name} {question_id}".encode(), digest_size=8).digest()
    return choices[int.from_bytes(digest) % len(choices)]
