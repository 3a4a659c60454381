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
    """Have a model write the question that belongs to an ID, or several.

    ::

        Stage("generation", partial(generate, provider=main, topic="fractions"))

    An item that was sent back is written anew: the prompt has what it was sent back with.

    Args:
        question_id: The ID; or a record, of which ``topic``, ``kind``, ``difficulty`` and ``language`` count instead
            of the options, as far as it has them. An option such as ``record.level`` names another of its fields.
        provider: The model.
        per_call: How many questions to ask for in one call. Then the result is a list, for a stage with
            ``expand=True``: of those that can be read, at least one and at most so many, each with the ID of its item.
            mypy takes any ``partial(generate, ...)`` for one that gives a ``Question``: use ``generate_several``.
        topic: What it is to be about; of several, the ID decides which one, the same in every run.
        kind: What kind of question.
        difficulty: How hard.
        language: In which language: ``zh`` for Chinese, by prompts in Chinese; others by name, such as ``French``.
        prompt: With the fields ``id``, ``topic``, ``kind``, ``difficulty``, ``language``, ``feedback`` (empty unless
            the item was sent back) and ``count`` (``per_call``), and ``record.NAME`` for fields of the record.
        temperature: How freely the model chooses its words; its own by default.
        max_tokens: Tokens of the reply, at most.

    Returns:
        A ``Question``; with ``per_call`` a list of them.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        StopRun: There are no prompts for a code of a language.
        WrongInput: A record has no ID: there is no running item, and it has no field ``id``.
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
    """Have a model write several questions in one call: ``generate`` with ``per_call``, whose arguments it takes.

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
    """Have a model say whether a question is clear and can be answered; one that is not goes back, or is dropped.

    ``generate`` is told why. A question that is one of several of a call cannot go back behind that: drop it.

    Args:
        question: The question, or a record with the field ``question``; it is returned as it is.
        provider: The model.
        unclear: What becomes of a question that is not clear.
        back_to: The name of the stage that writes it anew.
        language: Of the prompt, ``en`` or ``zh``; by default the question's own.
        prompt: With the field ``question``, and if it likes ``topic``, ``kind``, ``difficulty``, ``language``
            and ``record.NAME``.
        temperature: How freely the model chooses its words; its own by default.
        max_tokens: Tokens of the reply, at most.

    Raises:
        SendBack: It is not clear; with the reason.
        Drop: It is not clear, and ``unclear`` says so.
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        WrongInput: The value is not usable; no call was made.
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
    """Have a model answer a question, of which it sees the text alone.

    Args:
        question: The question, or a record with the field ``question``; of a record the result is a dict.
        provider: The model.
        language: Of the prompt, ``en`` or ``zh``; by default the question's own.
        prompt: With the field ``question``, and if it likes ``topic``, ``kind``, ``difficulty``, ``language``
            and ``record.NAME``.
        temperature: How freely the model chooses its words; its own by default.
        max_tokens: Tokens of the reply, at most.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        WrongInput: The value is not usable; no call was made.
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

    Where the last attempt's reply cannot be read either, the answer is ``ungraded``, never wrong.

    Args:
        answered: The question and its answer, or a record with the fields ``question``, ``reference`` and ``answer``;
            of a record the result is a dict.
        provider: The model.
        language: Of the prompt, ``en`` or ``zh``; by default the question's own.
        prompt: With the fields ``question``, ``reference`` and ``answer``, and those of ``answer``'s prompt.
        temperature: How freely the model chooses its words; its own by default.
        max_tokens: Tokens of the reply, at most.

    Raises:
        LLMError: The call failed; see ``rxpipe.llm.errors``.
        WrongInput: The value is not usable; no call was made.
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
    """A prompt's messages about a record. It is never told the reference where that is to be found out."""
    check_languages(language or "en")
    values = {name: known[name] for name in shipped.fields if name in known}
    if prompt.record_paths:
        values["record"] = source_record()
    return in_language(prompt, language or str(known.get("language", "en"))).messages(**values)


def _id_and_fields(given: object) -> tuple[int | str, Mapping[str, Any]]:
    """The ID to write a question for, and what is known of the question."""
    if isinstance(given, int | str):
        return given, {}
    known = fields_of(given) or {}
    own = item_id()
    own = known.get("id") if own is None else own
    if not isinstance(own, int | str):
        raise WrongInput(f"generate takes an ID, or a record with the ID of its item, but got {type(given).__name__}")
    return own, known


def _own(given: Mapping[str, Any]) -> dict[str, OneOf]:
    """What a record says of the question to write: texts, or lists of them."""
    said = {name: given[name] for name in _ABOUT if given.get(name)}
    return {name: _texts(one) for name, one in said.items()}


def _of_record(name: str, path: object, record: Any) -> OneOf:
    """What an option is that names a field of the record; its default where the field is empty."""
    found = read_record(str(path), record, name)
    return cast("str", (generate.__kwdefaults__ or {})[name]) if found in (None, "", [], ()) else _texts(found)


def _texts(said: object) -> OneOf:
    return [str(one) for one in cast("Iterable[object]", said)] if isinstance(said, list | tuple) else str(said)


def _choice(question_id: int | str, name: str, choices: OneOf) -> str:
    if isinstance(choices, str):
        return choices
    digest = hashlib.blake2b(f"{name} {question_id}".encode(), digest_size=8).digest()
    return choices[int.from_bytes(digest) % len(choices)]
