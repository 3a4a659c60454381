"""The arguments of stages that a config gives: by annotation, of functions of all sorts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import Field

from rxpipe.config.arguments import ArgumentError, bound
from rxpipe.llm import Prompt, Provider

MAIN = Provider(model="main", base_url="http://127.0.0.1:9/v1")
DEFAULT = Prompt("Say {word}.", ["word", "tone"])


def provider(name: object, argument: str) -> Provider:
    """Finds the one that there is."""
    if name != "main":
        raise ArgumentError(argument, f"no provider is called {name!r}")
    return MAIN


def bind(call: Callable[..., Any], folder: Path | None = None, **options: Any) -> Any:
    """What a stage would call."""
    return bound(call, options, folder=folder, provider=provider)


def refused(call: Callable[..., Any], folder: Path | None = None, **options: Any) -> str:
    """Why an argument is refused, with its name."""
    with pytest.raises(ArgumentError) as raised:
        bind(call, folder, **options)
    return f"{raised.value.name}: {raised.value}"


def plain(value: str, *, times: int = 1, style: str = "calm", words: list[str] | None = None) -> Any:
    return value, times, style, words


def test_arguments_are_put_in_place() -> None:
    """The function is left with its value."""
    assert bind(plain, times=3, words=["a"])("x") == ("x", 3, "calm", ["a"])


def test_without_arguments_the_function_is_left_as_it_is() -> None:
    """Nothing stands between."""
    assert bind(plain) is plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tims": 3},
            "tims: the function has no such argument; did you mean 'times'? allowed: times, style, words",
        ),
        ({"value": 3}, "value: the function has no such argument; allowed: times, style, words"),
        ({"times": "lots"}, "times: given the text 'lots'; allowed: a whole number"),
        ({"style": 3}, "style: given 3; allowed: text"),
        ({"words": "a"}, "words: given the text 'a'; allowed: a list"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    """With its name, what was given and what is allowed."""
    assert refused(plain, **options) == message


def test_a_function_without_arguments_is_told_as_such() -> None:
    """The list of those that are allowed is not empty."""
    assert refused(str.upper, style="loud") == "style: the function has no such argument; allowed: none"


def test_an_argument_that_is_missing_is_named() -> None:
    """Whether it may be given by place, or by name only."""

    def by_name(value: int, *, model: Provider) -> None: ...
    def by_place(value: int, model: Provider) -> None: ...

    for call in (by_name, by_place):
        assert refused(call) == "None: the function needs the argument model"


def test_a_provider_is_named() -> None:
    """Where the annotation says so, whatever the argument is called."""

    def call(value: int, *, judge: Provider) -> Provider:
        return judge

    assert bind(call, judge="main")(1) is MAIN
    assert refused(call, judge="mian") == "judge: no provider is called 'mian'"


def test_a_provider_may_be_left_out_or_null() -> None:
    """Where the function can do without."""

    def call(value: int, *, judge: Provider | None = None) -> Provider | None:
        return judge

    assert bind(call, judge="main")(1) is MAIN
    assert bind(call, judge=None)(1) is None


def test_a_prompt_is_a_file_beside_the_config(tmp_path: Path) -> None:
    """It may use the fields of the default."""

    def call(value: int, *, prompt: Prompt = DEFAULT) -> Any:
        return prompt.messages(word="hi", tone="mild")

    (tmp_path / "own.md").write_text("Speak {tone}: {word}", "utf-8")
    assert bind(call, tmp_path, prompt="own.md")(1) == [{"role": "user", "content": "Speak mild: hi"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the prompt cannot be read: No such file or directory"),
        (b"caf\xe9", "the prompt cannot be read: it is not UTF-8"),
        (b"Say {wrod}", "it has no value for the field {wrod}; allowed: tone, word"),
        (b"only a system message\n---\n", "there is no text for the user's message"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """With its path and the reason."""

    def call(value: int, *, prompt: Prompt = DEFAULT) -> None: ...

    path = tmp_path / "own.md"
    if content is not None:
        path.write_bytes(content)
    assert refused(call, tmp_path, prompt="own.md") == f"prompt: {path}: {message}"


@pytest.mark.parametrize("value", [3, ["own.md"]])
def test_a_prompt_that_is_no_path_is_refused(value: Any) -> None:
    """Only text names a file."""

    def call(value: int, *, prompt: Prompt = DEFAULT) -> None: ...

    assert refused(call, prompt=value).endswith("; allowed: a file with the prompt")


def test_what_has_no_annotation_may_be_anything() -> None:
    """It is given as it stands in the file."""

    def call(value, *, extra=None):  # type: ignore[no-untyped-def]
        return extra  # pyright: ignore[reportUnknownVariableType]

    assert bind(call, extra={"a": [1]})(0) == {"a": [1]}  # pyright: ignore[reportUnknownArgumentType]


def test_any_argument_may_be_given_to_a_function_that_takes_any() -> None:
    """It is not known what they are."""

    def call(value: int, **others: Any) -> Any:
        return others

    assert bind(call, a=1, b="x")(0) == {"a": 1, "b": "x"}


def test_a_partial_is_bound_further() -> None:
    """What it has already may be replaced."""
    assert bind(partial(plain, times=2), style="loud")("x") == ("x", 2, "loud", None)
    assert bind(partial(plain, times=2), times=5)("x") == ("x", 5, "calm", None)
    assert refused(partial(plain, times=2), times="lots") == "times: given the text 'lots'; allowed: a whole number"


class Object:
    """Something that is called."""

    def __call__(self, value: int, *, model: Provider, times: int = 1) -> Any:
        return model, times

    def method(self, value: int, *, model: Provider) -> Any:
        return model


class Made:
    """A class that is called."""

    def __init__(self, value: int, *, model: Provider) -> None:
        self.model = model


def test_objects_methods_and_classes_are_functions_too() -> None:
    """Their annotations count."""
    assert bind(Object(), model="main", times=2)(1) == (MAIN, 2)
    assert bind(Object().method, model="main")(1) is MAIN
    assert bind(Made, model="main")(1).model is MAIN


def test_an_annotation_may_have_limits() -> None:
    """What pydantic knows of."""

    def call(value: int, *, share: Annotated[float, Field(le=1)] = 0) -> None: ...

    assert refused(call, share=2) == "share: given 2; allowed: less than or equal to 1"


def test_a_type_that_pydantic_does_not_know_takes_anything() -> None:
    """The function has to see to it."""

    def call(value: int, *, module: ModuleType | None = None) -> Any:
        return module

    assert bind(call, module="sys")(1) == "sys"


@pytest.mark.parametrize(
    "first",
    [
        "from __future__ import annotations",
        pytest.param("", marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="such annotations are evaluated")),
    ],
    ids=["text", "lazy"],
)
def test_what_is_imported_for_type_checkers_alone_is_understood(first: str) -> None:
    """A provider is one there, too, and the other annotations count."""
    module = ModuleType("imported_for_types")
    source = f"""
{first}
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from somewhere import Unknown
    from rxpipe.llm import Prompt, Provider

def call(value: Unknown, *, model: Provider, times: int = 1, prompt: Prompt | None = None):
    return model, times
"""
    exec(compile(source, "stages.py", "exec"), module.__dict__)
    assert bind(module.call, model="main", times=2)(1) == (MAIN, 2)
    assert refused(module.call, model="main", times="x") == "times: given the text 'x'; allowed: a whole number"


def test_an_annotation_that_makes_no_sense_is_none() -> None:
    """The function is the user's."""

    def call(value: int, *, times: int = 1) -> Any:
        return times

    call.__annotations__["times"] = "1 / 0"
    assert bind(call, times="x")(1) == "x"
