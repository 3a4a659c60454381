"""The languages of the prompts, and the choice of prompts for a question's language."""

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
_TOLD = {"en": "English", "zh": "中文"}  # the languages' names in prompts
_DEFAULTS = {"zh": {"general knowledge": "常识", "a question with a short answer": "答案简短的题", "medium": "中等"}}
_CODE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]+)*")  # a language's name begins with a capital, or is not ASCII
_ALLOWED = "en, zh, or a language's name, such as French, which the English prompts then ask for"


def prompts_of(language: str) -> str | None:
    """Returns the code of the prompts in a language; None if the language has no prompts."""
    said = language.strip().casefold().replace("_", "-")
    return next((code for code, names in _NAMES.items() if said in names), None)


def told(language: str) -> str:
    """Returns a language's name for prompts. A language without prompts keeps its text."""
    code = prompts_of(language)
    return language if code is None else _TOLD[code]


def localized(about: Mapping[str, str]) -> dict[str, str]:
    """Translate default topics, kinds and difficulties into the question's language. Other texts stay as they are."""
    words = _DEFAULTS.get(prompts_of(about["language"]) or "en", {})
    return {name: words.get(text, text) for name, text in about.items()}


def _checked(language: str) -> str:
    if _CODE.fullmatch(language) and prompts_of(language) is None:
        raise PydanticCustomError("language", _ALLOWED)
    return language


Language: TypeAlias = Annotated[str, AfterValidator(_checked)]
Languages: TypeAlias = Language | Annotated[Sequence[Language], Field(min_length=1)]


def check_languages(languages: str | Sequence[str]) -> None:
    """Refuse a language code without prompts.

    Raises:
        StopRun: There are no prompts for a code. Every call would fail in the same way.
    """
    for one in [languages] if isinstance(languages, str) else languages:
        try:
            _checked(one)
        except PydanticCustomError:
            raise StopRun(f"language {one!r}; allowed: {_ALLOWED}") from None


class ShippedPrompt(Prompt):
    """A prompt with a text in each language. The object itself is the English prompt."""

    def __init__(self, name: str, *fields: str) -> None:
        super().__init__((_PROMPTS / f"{name}.md").read_text("utf-8"), fields)
        self._others = {
            code: Prompt((_PROMPTS / code / f"{name}.md").read_text("utf-8"), fields) for code in _NAMES if code != "en"
        }

    def of(self, language: str) -> Prompt:
        """Returns the prompt for this language."""
        return self._others.get(prompts_of(language) or "en", self)


def in_language(prompt: Prompt, language: str) -> Prompt:
    """Returns the text of a shipped prompt for the language. A user's own prompt stays as it is."""
    return prompt.of(language) if isinstance(prompt, ShippedPrompt) else prompt
