"""Kills a run and goes on with it. Only calls that the kill cut off are made again.

python examples/durable.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())


def called(name: str, value: Any) -> None:
    """Notes a call: with a model, you would pay for it."""
    with (FOLDER / "calls").open("a") as calls:
        calls.write(f"{name} {value}\n")
    time.sleep(0.02)


def generate(number: int) -> dict[str, Any]:
    called("generate", number)
    return {"question": f"What is {number} + {number}?", "number": number}


def answer(value: dict[str, Any]) -> dict[str, Any]:
    called("answer", value["number"])
    return {**value, "answer": 2 * value["number"]}


def main() -> None:
    pipeline = Pipeline(
        Stage("generation", generate, concurrency=4),
        Stage("answering", answer, concurrency=4),
        sink=DatabaseSink(f"sqlite:///{FOLDER / 'bank.db'}"),
        store=RunStore(),
    )
    report = pipeline.run(range(100))
    print(f"{report.written_before} written before, {report.written} written now")


if __name__ == "__main__" and len(sys.argv) > 1:
    main()
elif __name__ == "__main__":
    with subprocess.Popen([sys.executable, __file__, str(FOLDER)]) as first:
        while not (FOLDER / "calls").exists() or len((FOLDER / "calls").read_text().splitlines()) < 80:
            time.sleep(0.01)
        first.kill()
    subprocess.run([sys.executable, __file__, str(FOLDER)], check=True)
    made = (FOLDER / "calls").read_text().splitlines()
    print(f"{len(made)} calls for 200 results: {len(made) - len(set(made))} were cut off and made again")
