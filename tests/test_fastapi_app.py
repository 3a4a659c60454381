"""The web app of the examples, in a process of its own, driven by a real client."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pipeline_helpers import LIMIT
from programs import Program

pytestmark = pytest.mark.slow

APP = Path(__file__).parents[1] / "examples" / "fastapi_app.py"


@contextmanager
def served(folder: Path) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """The app on a free port, its URL and process; it ends well when it is terminated."""
    command = ["-m", "uvicorn", "--app-dir", str(APP.parent), f"{APP.stem}:app", "--port", "0"]
    streams: dict[str, Any] = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with Program(*command, cwd=folder, imports=["fastapi"], **streams) as process:
        assert process.stderr is not None
        said: list[str] = []
        try:
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    break
            else:
                raise AssertionError("".join(said))
            yield found[0], process
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=LIMIT)
            assert process.returncode in (0, -signal.SIGTERM), rest
            assert "Traceback" not in rest, rest
            assert "Application shutdown complete" in rest, rest
        finally:
            process.kill()


def kept(folder: Path) -> tuple[dict[str, str], set[str]]:
    """Status by ID, and the states of the store's items."""
    with closing(sqlite3.connect(folder / "web_questions.db")) as connection:
        rows = connection.execute("select id, status from results").fetchall()
        states = connection.execute("select state from rxpipe_items").fetchall()
    assert len(rows) == len(dict(rows))
    return dict(rows), {state for (state,) in states}


def test_one_question(tmp_path: Path) -> None:
    """Its outcome is the response, and its row is there by then; the same again costs nothing."""
    with served(tmp_path) as (url, _), httpx.Client(base_url=url) as client:
        for _ in range(2):
            answer = client.post("/questions/seven")
            assert (answer.status_code, answer.json()["value"]) == (200, "'seven' has 5 letters")
            assert kept(tmp_path)[0] == {"seven": "written"}
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "alive")
    with served(tmp_path) as (url, _), httpx.Client(base_url=url) as client:
        assert client.post("/questions/seven").json()["value"] == "'seven' has 5 letters"


def test_many_questions_are_followed(tmp_path: Path) -> None:
    """An event each, as they end; more than there is room for wait."""
    with served(tmp_path) as (url, _):
        ids = [f"q{number}" for number in range(100)]
        with httpx.stream("POST", f"{url}/questions", json=ids, timeout=LIMIT) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
    assert sorted(event["id"] for event in events) == sorted(ids)
    assert kept(tmp_path) == (dict.fromkeys(ids, "written"), {"written"})


def test_load_with_cancelled_requests(tmp_path: Path) -> None:
    """Who is refused may come again; who hangs up disturbs nobody, and what was taken is written."""
    ids = [f"q{number}" for number in range(120)]
    refused = 0
    room = asyncio.Condition()

    async def ask(client: httpx.AsyncClient, question_id: str, patience: float | None) -> Any:
        nonlocal refused
        while True:
            async with asyncio.timeout(patience):
                answer = await client.post(f"/questions/{question_id}")
            if answer.status_code != 503:
                async with room:
                    room.notify()
                return answer.json()["status"]
            refused += 1
            again = int(answer.headers["retry-after"])
            assert 1 <= again <= 60
            with suppress(TimeoutError):  # else the others' requests would take the time of those that are let in
                async with asyncio.timeout(again), room:
                    await room.wait()

    async def main(url: str) -> dict[str, Any]:
        chance = random.Random(1)
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)  # the server may close what idles
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=LIMIT) as client:
            asked = {one: ask(client, one, 0.03 if chance.random() < 0.3 else None) for one in ids}
            answers = await asyncio.gather(*asked.values(), return_exceptions=True)
        return dict(zip(asked, answers, strict=True))

    with served(tmp_path) as (url, _):
        answers = asyncio.run(main(url))
    rows, states = kept(tmp_path)
    answered = {one for one, status in answers.items() if status == "written"}
    gave_up = {one for one, status in answers.items() if isinstance(status, TimeoutError)}
    assert {one: answers[one] for one in set(ids) - answered - gave_up} == {}
    assert refused > 0
    assert gave_up
    assert answered <= set(rows) <= set(ids)
    assert (set(rows.values()), states) == ({"written"}, {"written"})


def test_terminated_under_load(tmp_path: Path) -> None:
    """What was taken is finished and answered, and the next process has nothing to do again."""

    async def main(url: str, process: subprocess.Popen[str]) -> list[Any]:
        async with httpx.AsyncClient(base_url=url, timeout=LIMIT) as client:
            asked = [asyncio.ensure_future(client.post(f"/questions/q{number}")) for number in range(20)]
            while (await client.get("/health")).json()["unfinished"] == 0:
                pass
            os.kill(process.pid, signal.SIGTERM)
            return await asyncio.gather(*asked, return_exceptions=True)

    with served(tmp_path) as (url, process):
        answers = asyncio.run(main(url, process))
    written = [one.json()["id"] for one in answers if isinstance(one, httpx.Response) and one.status_code == 200]
    rows, states = kept(tmp_path)
    assert written
    assert set(written) <= set(rows)
    assert (set(rows.values()), states) == ({"written"}, {"written"})
