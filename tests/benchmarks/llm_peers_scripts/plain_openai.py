"""A loop over a bare ``openai`` client, with its own retries; each question becomes a line of a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .common import ATTEMPTS, SLOTS_IN_ALL, Run, measured, parsed, prompt

openai: Any = import_module("openai")
openai.AsyncOpenAI(api_key="none")  # most of it is imported when it is first used


def work(run: Run) -> Callable[[], int]:
    """As many workers as there may be calls; each takes a question through all three."""
    path = run.folder / "questions.jsonl"
    asyncio.run(_loop(run, path.open("w").write))
    return lambda: len(path.read_text().splitlines())


async def _loop(run: Run, write: Callable[[str], object]) -> None:
    http = openai.DefaultAioHttpClient() if run.variant == "aiohttp" else None
    generate, answer, grade = (prompt(name) for name in ("generate", "answer", "grade"))
    numbers = iter(range(run.questions))
    async with openai.AsyncOpenAI(
        base_url=run.url, api_key="none", max_retries=ATTEMPTS, timeout=60, http_client=http
    ) as client:

        async def ask(messages: list[Any]) -> dict[str, Any]:
            reply = await client.chat.completions.create(model="fake-model", messages=messages)
            return parsed(reply.choices[0].message.content)

        async def worker() -> None:
            for number in numbers:
                row: dict[str, Any] = {"id": number, **await ask(generate.messages(id=number))}
                row |= await ask(answer.messages(question=row["question"]))
                row |= await ask(
                    grade.messages(question=row["question"], reference=row["reference"], answer=row["answer"])
                )
                write(json.dumps(row) + "\n")

        await asyncio.gather(*(worker() for _ in range(SLOTS_IN_ALL)))


if __name__ == "__main__":
    measured(work)
