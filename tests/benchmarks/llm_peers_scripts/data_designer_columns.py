"""NeMo Data Designer: three structured columns of a language model; rows in Parquet files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from .common import SLOTS, SLOTS_IN_ALL, Run, measured, prompt

config, interface, pandas = (
    import_module(name) for name in ("data_designer.config", "data_designer.interface", "pandas")
)

COLUMNS = {
    "generate": ({"id": "id"}, {"question": "string", "reference": "string"}),
    "answer": ({"question": "generate.question"}, {"answer": "string"}),
    "grade": (
        {"question": "generate.question", "reference": "generate.reference", "answer": "answer.answer"},
        {"reason": "string", "verdict": "string", "score": "number"},
    ),
}
"""Of each column: the expressions in its prompt, and the types of its fields."""


def _columns(variant: str) -> list[Any]:
    return [
        config.LLMStructuredColumnConfig(
            name=name,
            model_alias="model" if variant == "one" else name,
            system_prompt=prompt(name).system,
            prompt=prompt(name).jinja(**takes),
            output_format={
                "type": "object",
                "properties": {field: {"type": kind} for field, kind in gives.items()},
                "required": list(gives),
            },
        )
        for name, (takes, gives) in COLUMNS.items()
    ]


def _settings(variant: str) -> Any:
    if variant != "tuned":
        return config.RunConfig(otel_metrics_port=None)
    return config.RunConfig(
        otel_metrics_port=None,
        request_admission=config.RequestAdmissionTuningConfig(
            multiplicative_decrease_factor=0.95, additive_increase_step=4, successes_until_increase=5
        ),
    )


def _models(variant: str) -> list[Any]:
    """A model for each column, as far as its own bounds go, or one for all."""
    names, slots = (["model"], SLOTS_IN_ALL) if variant == "one" else (list(COLUMNS), SLOTS)
    return [
        config.ModelConfig(
            alias=name,
            model=f"fake-{name}",
            provider="local",
            inference_parameters=config.ChatCompletionInferenceParams(max_parallel_requests=slots, timeout=60),
            skip_health_check=True,  # one more call, which the faults may befall
        )
        for name in names
    ]


def work(run: Run) -> Callable[[], int]:
    """Its bound is of the calls to a model at once, which it lowers by itself after a 429.

    Its documents advise to leave it at that. The variant ``tuned`` lowers it by less and raises it sooner; ``one`` has
    one model for all columns.
    """
    builder = config.DataDesignerConfigBuilder(model_configs=_models(run.variant))
    builder.with_seed_dataset(config.DataFrameSeedSource(df=pandas.DataFrame({"id": range(run.questions)})))
    for column in _columns(run.variant):
        builder.add_column(column)
    designer = interface.DataDesigner(
        artifact_path=run.folder,
        model_providers=[config.ModelProvider(name="local", endpoint=run.url, api_key="none")],
    )
    designer.set_run_config(_settings(run.variant))
    results = designer.create(builder, num_records=run.questions, dataset_name="questions")
    return lambda: int(results.load_dataset()["grade"].notna().sum())


if __name__ == "__main__":
    measured(work)
