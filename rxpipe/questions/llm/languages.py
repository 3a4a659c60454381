"""The languages that there are prompts in, and which of them a question asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from rxpipe.errors import StopRun
from rxpipe.llm import Prompt

_PROMPTS = files("rxpipe.questions.llm") / "prompts"
_NAMES = {
    "en": ("en", "english"),
    "zh": ("zh", "zh-cn", "zh-hans", "chinese", "simplified chinese", "中文", "汉语", "简体中文"),
}
_TOLD = {"en": "English", "zh": "中文"}  # what a prompt calls them
_DEFAULTS = {"zh": {"general knowledge": "常识", "a question with a short answer": "答案简短的题", "medium": "中等"}}
_CODE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]+)*")  # names of languages begin with a capital, or are no ASCII
_ALLOWED = "en, zh, or a language's name, such as French, which the English prompts then ask for"


def prompts_of(language: str) -> str | None:
    """The code of the prompts in a language; None if it has none of its own."""
    said = language.strip().casefold().replace("_", "-")
    return next((code for code, names in _NAMES.items() if said in names), None)


def told(language: str) -> str:
    """A language as prompts call it: a code that they know by its name, anything else as it is."""
    code = prompts_of(language)
    return language if code is None else _TOLD[code]


def localized(about: Mapping[str, str]) -> dict[str, str]:
    """What a question is about, with defaults in its language; what somebody chose stays as it is."""
    words = _DEFAULTS.get(prompts_of(about["language"]) or "en", {})
    return {name: words.get(text, text) for name, text in about.items()}


def _checked(language: str) -> str:
    if _CODE.fullmatch(language) and prompts_of(language) is None:
        raise PydanticCustomError("language", _ALLOWED)
    return language


Language: TypeAlias = Annotated[str, AfterValidator(_checked)]
Languages: TypeAlias = Language | Annotated[Sequence[Language], Field(min_length=1)]


def check_languages(languages: str | Sequence[str]) -> None:
    """Refuses a code that there are no prompts for.

    Raises:
        StopRun: There is one: every call would have it.
    """
    for one in [languages] if isinstance(languages, str) else languages:
        try:
            _checked(one)
        except PydanticCustomError:
            raise StopRun(f"language {one!r}; allowed: {_ALLOWED}") from None


class ShippedPrompt(Prompt):
    """A prompt that there is in each of the languages. By itself it is the English one."""

    def __init__(self, name: str, *fields: str) -> None:
        super().__init__((_PROMPTS / f"{name}.md").read_text("utf-8"), fields)
        self._others = {
            code: Prompt((_PROMPTS / code / f"{name}.md").read_text("utf-8"), fields) for code in _NAMES if code != "en"
        }

    def of(self, language: str) -> Prompt:
        """The prompt that asks for this language."""
        return self._others.get(prompts_of(language) or "en", self)


def in_language(prompt: Prompt, language: str) -> Prompt:
    """A prompt that ships in the language; one that a user has put in its place as it is."""
    return prompt.of(language) if isinstance(prompt, ShippedPrompt) else prompt
