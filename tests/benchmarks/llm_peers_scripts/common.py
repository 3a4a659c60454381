"""What the scripts share: rxpipe's prompts, how replies are read, and the clock around a run."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).parents[3] / "rxpipe" / "questions" / "llm" / "prompts"
ABOUT = {
    "topic": "fractions",
    "kind": "a question with a short answer",
    "difficulty": "medium",
    "language": "English",
}
SLOTS = 16
"""Calls at once of each stage, where a peer has such a bound."""
SLOTS_IN_ALL = 3 * SLOTS
"""Calls at once of all stages, where it has only one."""
ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt of rxpipe's.

    Attributes:
        system: What the model is told first.
        user: The rest, with fields in braces.
    """

    system: str
    user: str

    def filled(self, **fields: object) -> str:
        """The user's part with values in it."""
        return re.sub(r"\{(\w+)\}", lambda field: str(fields[field[1]]), self.user)

    def jinja(self, **columns: str) -> str:
        """The user's part as a Jinja2 template; a column is an expression."""
        return self.filled(**{name: f"{{{{ {column} }}}}" for name, column in columns.items()})

    def messages(self, **fields: object) -> list[Any]:
        """Both as messages of a chat."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.filled(**fields)}]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a script is to do.

    Attributes:
        url: The API's.
        questions: How many.
        folder: Where the rows go.
        variant: Which way, where a script knows several.
    """

    url: str
    questions: int
    folder: Path
    variant: str


def prompt(name: str) -> Prompt:
    """``generate``, ``answer`` or ``grade``, with what questions are about already in it."""
    system, _, user = (PROMPTS / f"{name}.md").read_text("utf-8").strip().partition("\n---\n")
    for field, value in ABOUT.items():
        user = user.replace(f"{{{field}}}", value)
    return Prompt(system=system.strip(), user=user.strip())


def parsed(reply: str) -> dict[str, Any]:
    """The JSON object in a reply."""
    return dict(json.loads(reply[reply.index("{") : reply.rindex("}") + 1]))


def measured(work: Callable[[Run], Callable[[], int]]) -> None:
    """Do the command line's run, and print its seconds and how many rows it kept, as JSON.

    Args:
        work: Does the run; gives a function that counts the rows, which no longer counts.
    """
    url, questions, folder, *variant = sys.argv[1:]
    run = Run(url=url, questions=int(questions), folder=Path(folder), variant="".join(variant))
    started = time.perf_counter()
    count = work(run)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "rows": count()}), flush=True)
