"""inspect_ai: a solver that has a question written and answered, and its own model-graded scorer; rows in its log."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from .common import SLOTS_IN_ALL, Run, measured, parsed, prompt

inspect_ai, dataset, models, scorers, solvers = (
    import_module(f"inspect_ai{part}") for part in ("", ".dataset", ".model", ".scorer", ".solver")
)


def write_and_answer() -> Any:
    """Two calls: the question goes into the sample's metadata, the answer is the sample's output."""
    writing, answering = prompt("generate"), prompt("answer")

    async def solve(state: Any, generate: Any) -> Any:
        system, user = models.ChatMessageSystem, models.ChatMessageUser
        written = await models.get_model().generate([system(content=writing.system), state.user_prompt])
        state.metadata |= {
            {"question": "written"}.get(name, name): text for name, text in parsed(written.completion).items()
        }
        asked = answering.filled(question=state.metadata["written"])
        state.messages = [system(content=answering.system), user(content=asked)]
        state = await generate(state)
        state.output.completion = parsed(state.output.completion)["answer"]
        return state

    return solve


def work(run: Run) -> Callable[[], int]:
    """Its bounds are of the connections to a model, and of the samples at once, by default as many.

    Retries are as they are by default, without end: two of its client's, which do as ``Retry-After`` says, then its
    own, which wait for 3 seconds and longer.
    """
    writing, grading = prompt("generate"), prompt("grade")
    template = grading.filled(question="{written}", reference="{reference}", answer="{answer}")
    task = inspect_ai.Task(
        dataset=dataset.MemoryDataset(
            [dataset.Sample(id=number + 1, input=writing.filled(id=number)) for number in range(run.questions)]
        ),
        solver=solvers.solver(write_and_answer)(),
        scorer=scorers.model_graded_qa(
            template=f"{grading.system}\n\n{template}", instructions=" ", grade_pattern=r'"score": ([0-9.]+)'
        ),
    )
    (log,) = inspect_ai.eval(
        task,
        model=models.get_model("openai-api/local/fake-model", base_url=run.url, api_key="none"),
        log_dir=str(run.folder),
        display="none",
        **({} if run.variant == "adaptive" else {"max_connections": SLOTS_IN_ALL}),
    )
    return lambda: sum(
        sample.error is None and isinstance(sample.scores["model_graded_qa"].value, str | float)
        for sample in import_module("inspect_ai.log").read_eval_log(log.location).samples
    )


if __name__ == "__main__":
    measured(work)
