"""distilabel: three text generations, each a process with batches; rows in its distiset."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any

from .common import SLOTS, Run, measured, parsed, prompt

models, pipelines, steps, tasks = (
    import_module(f"distilabel.{part}") for part in ("models", "pipeline", "steps", "steps.tasks")
)


class Writing(tasks.TextGeneration):  # type: ignore[misc, name-defined]  # its environment has it, this one has not
    """A text generation whose reply is a JSON object with columns."""

    gives: list[str] = []  # noqa: RUF012  # a field of a pydantic model

    @property
    def outputs(self) -> list[str]:
        """Its columns, and the model's name, which it adds by itself."""
        return [*self.gives, "model_name"]

    def format_output(self, output: str | None, input: dict[str, Any] | None = None) -> dict[str, Any]:
        """A reply's columns; without reply they are empty."""
        return {name: parsed(output)[name] if output else None for name in self.gives}


def _task(run: Run, name: str, takes: list[str], gives: list[str]) -> Any:
    text = prompt(name)
    llm = models.OpenAILLM(
        model="fake-model",
        base_url=run.url,
        api_key="none",
        generation_kwargs={"response_format": {"type": "json_object"}},
    )
    return Writing(
        name=name,
        llm=llm,
        system_prompt=text.system,
        template=text.jinja(**{field: field for field in takes}),
        columns=takes,
        gives=gives,
        input_batch_size=SLOTS,  # of which all calls are made at once; the next batch begins when they are over
    )


def work(run: Run) -> Callable[[], int]:
    """Retries are its client's, six by default, which do as ``Retry-After`` says."""
    with pipelines.Pipeline("questions", cache_dir=run.folder) as pipeline:
        numbers = [{"id": number} for number in range(run.questions)]
        load = steps.LoadDataFromDicts(data=numbers, batch_size=SLOTS)
        generate = _task(run, "generate", ["id"], ["question", "reference"])
        answer = _task(run, "answer", ["question"], ["answer"])
        grade = _task(run, "grade", ["question", "reference", "answer"], ["reason", "verdict", "score"])
        for before, after in pairwise([load, generate, answer, grade]):
            before.connect(after)
    rows = pipeline.run(use_cache=False)["default"]["train"]
    return lambda: len({row["id"] for row in rows if row["verdict"]})


if __name__ == "__main__":
    measured(work)
