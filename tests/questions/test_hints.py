"""What annotations say of the values between stages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypedDict, TypeVar, get_type_hints

import pytest
from reactivex import Observable

from rxpipe import Drop, Record, SendBack
from rxpipe.questions import arithmetic, distinct, llm, majority, samples
from rxpipe.questions.arithmetic import Question
from rxpipe.questions.hints import gives, misfit, passed_on
from rxpipe.questions.inputs import Same

T = TypeVar("T")


def copies(value: T) -> list[T]:
    """What a user may write."""
    return [value]


class Text(TypedDict):
    text: str


class Bare(TypedDict):
    question: str


@pytest.mark.parametrize(
    "hint",
    [
        Any,
        object,
        Question,
        Question | Drop,
        str | Question,
        Mapping[str, str],
        Bare,
        dict,
        Same,
        Drop,
        "unknown",
        Awaitable[Bare],
    ],
)
def test_what_may_fit_fits(hint: Any) -> None:
    """As annotations say little."""
    assert misfit(hint, arithmetic.answer) is None


@pytest.mark.parametrize(
    ("hint", "came"),
    [
        (str, "str"),
        (None, "None"),
        (str | Drop, "str"),
        (Text | SendBack | None, "Text with text or None"),
        (list[Question], "list"),
        (list[Question] | Sequence[Question], "list or Sequence"),
        (Iterator[Question], "Iterator"),
        (AsyncIterator[Question], "AsyncIterator"),
        (Awaitable[str], "str"),
        (Observable[int], "int"),
        (Annotated[int, "of a kind"], "int"),
    ],
)
def test_what_surely_lacks_a_field_does_not_fit(hint: Any, came: str) -> None:
    """Alternatives that end an item do not count."""
    for function in (arithmetic.answer, llm.answer, llm.check, distinct):
        reason = misfit(hint, function)
        assert reason is not None
        assert reason.endswith(f"with question, but gets {came}")


def test_an_option_may_name_the_field() -> None:
    """Then that one is needed."""
    assert misfit(Text, distinct, {"field": "text"}) is None
    assert (misfit(Bare, distinct, {"field": "text"}) or "").endswith("with text, but gets Bare with question")


def test_only_a_stage_that_collects_gets_children() -> None:
    """And what is shipped for that needs it."""
    assert misfit(Any, majority, collect=True) is None
    assert (misfit(Bare, majority, collect=True) or "").endswith("with answer, but gets Bare with question")
    assert (misfit(Any, majority) or "").startswith("takes the children of an item: its stage needs collect: true")
    assert (misfit(Any, llm.answer, collect=True) or "").endswith(
        "but gets the children of an item: its stage has collect: true"
    )


@pytest.mark.parametrize(
    ("returned", "passed"),
    [
        (Question | Drop, Question),
        (Awaitable[Question], Question),
        (Drop, Any),
        (Same, str),
        (Same | Drop, str),
        (Any, Any),
        (Record[Question], Question),
    ],
)
def test_a_value_goes_on(returned: Any, passed: Any) -> None:
    """Without what ends an item; a type variable stands for what came in."""
    assert passed_on(returned, str) == passed


@pytest.mark.parametrize(
    ("returned", "passed"),
    [
        (list[Question], Question),
        (list[Question] | Drop, Question),
        (list[Question | Drop], Question),
        (Sequence[Bare | Exception], Bare),
        (list[Record[Question]], Question),
        (tuple[Question, ...], Question),
        (tuple[int, str], int | str),
        (Iterator[Question], Question),
        (Generator[Question, None, None], Question),
        (AsyncIterator[Question], Question),
        (Observable[Question], Question),
        (Awaitable[list[Question]], Question),
        (Question | list[Question], Question),
        (list[Same], str),
        (list, Any),
        (Any, Any),
        (object, Any),
        (Question, None),
        (str, None),
        (dict[str, int], None),
        (None, None),
    ],
)
def test_each_of_many_values_goes_on(returned: Any, passed: Any) -> None:
    """Of what surely gives none, nothing does."""
    assert passed_on(returned, str, many=True) == passed


def test_some_items_may_pass() -> None:
    """With ``when``."""
    assert passed_on(int, str, optional=True) == int | str


def test_what_a_function_gives_may_depend_on_its_options() -> None:
    """One question, or several."""
    assert gives(llm.generate, {}, {}) is llm.Question
    assert gives(llm.generate, {}, {"per_call": 3}) == list[llm.Question]
    assert gives(samples, {}, {}) == list[Same]
    assert gives(copies, {}, {}) is Any


def test_a_type_variable_stands_for_what_came_in() -> None:
    """As in functions of users."""
    assert passed_on(gives(copies, get_type_hints(copies), {}), str, many=True) is str
