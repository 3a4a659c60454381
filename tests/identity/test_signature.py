"""What of a stage must be the same for its checkpoints to apply."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from rxpipe.identity.signature import StageSignature, changes, from_text, given_version, to_text
from rxpipe.llm import Prompt, Provider

PROMPT = Prompt("Say {word}")


def say(value: Any, *, word: str = "hello", loud: bool = False, prompt: Prompt = PROMPT, place: object = None) -> Any:
    return value, word, loud, prompt, place


def plain(value: Any) -> Any:
    return value


def signature(call: Any, version: str | int | None = None) -> StageSignature:
    return StageSignature.of("saying", call, version)


def test_a_plain_function_has_the_version_that_the_user_gives() -> None:
    """Or none."""
    assert signature(plain) == StageSignature("saying", f"{__name__}:plain", None)
    assert signature(plain, 2).version == "2"


def test_a_method_of_a_builtin_type() -> None:
    """It has no module of its own."""
    assert [signature(call).call for call in (str.upper, len)] == ["builtins:str.upper", "builtins:len"]


def test_another_prompt_is_another_version() -> None:
    """Also where it is the function's default."""
    other = Prompt("Whisper {word}")
    assert signature(say).version == f"prompt {PROMPT.version}"
    assert signature(functools.partial(say, prompt=other)).version == f"prompt {other.version}"
    assert signature(functools.partial(say, prompt=Prompt("Say {word}"))) == signature(say)


def test_other_arguments_are_another_version() -> None:
    """Whatever their order, and however they were put in place."""
    one = signature(functools.partial(say, word="hi", loud=True))
    assert one == signature(functools.partial(functools.partial(say, word="no", loud=True), word="hi"))
    assert one != signature(functools.partial(say, word="hi", loud=False))
    assert one.call == signature(say).call


def test_what_is_no_plain_data_does_not_count() -> None:
    """Another provider answers the same question."""
    assert signature(functools.partial(say, place=object())) == signature(say)


def test_another_model_has_other_results() -> None:
    """Which are not used in other runs; checkpoints of a run still apply. Other code and versions have others, too."""

    def with_model(model: str, **options: Any) -> StageSignature:
        provider = Provider(model=model, base_url=options.pop("base_url", None), options=options)
        return signature(functools.partial(say, place=provider))

    small, large, warm = with_model("small"), with_model("large"), with_model("small", temperature=1)
    assert small == large == signature(say)
    assert len({one.result_key for one in (small, large, warm, signature(say))}) == 4
    elsewhere = with_model("small", base_url="http://127.0.0.1:1/v1")
    assert elsewhere.result_key == small.result_key
    assert from_text(to_text([small]))[0].result_key == small.result_key


def test_results_go_by_the_function_and_not_by_the_name_of_the_stage() -> None:
    """Nor by where the stage is."""
    one, other = StageSignature.of("a", plain, 1), StageSignature.of("b", plain, 1)
    assert one.result_key == other.result_key
    keys = {one.result_key, signature(plain, 2).result_key, replace(one, code="other").result_key}
    assert len(keys | {signature(say, 1).result_key}) == 4


def test_what_has_changed_is_told() -> None:
    """In words: versions of the user's own, and the names of arguments."""
    before, now = signature(say, 1), signature(functools.partial(say, word="hi"), 1)
    assert str(now.version).startswith(f"1, prompt {PROMPT.version}, options ")
    assert changes([before], [now]) == ["the options of stage saying were changed"]
    assert (given_version(now.version), given_version(signature(say).version)) == ("1", None)
    other = signature(functools.partial(say, word="hi", prompt=Prompt("Whisper {word}")))
    assert changes([now], [other]) == [
        "stage saying has no version instead of version 1",
        "the prompt of stage saying was changed",
    ]
    assert changes([signature(say)], [other]) == ["the prompt and the options of stage saying were changed"]
