"""From a YAML file to a pipeline and its IDs.

- ``model.py``: the config and ``load_config``; its sections in ``sections.py`` and ``llm_sections.py``, made of what is
  in ``section.py``; what must agree in ``consistency.py``
- ``yaml_file.py``, ``explain.py``: reading the file, and saying what is wrong in it
- ``ids.py`` (with ``spool.py``): the IDs of a ``source``; ``imports.py``: ``module:function``
- ``run_config.py``: a config as one call of Python code
- ``build.py``: the pipeline that a config describes; ``arguments.py``, ``providers.py``: what its functions are given
"""

from __future__ import annotations

from rxpipe.config.llm_sections import LimitsConfig, PricesConfig, ProviderConfig
from rxpipe.config.model import Config, StageSettings, load_config
from rxpipe.config.run_config import load_pipeline, run_config
from rxpipe.config.sections import (
    DatabaseConfig,
    PipelineConfig,
    RangeConfig,
    RetryConfig,
    SourceConfig,
    StageConfig,
)

__all__ = [
    "Config",
    "DatabaseConfig",
    "LimitsConfig",
    "PipelineConfig",
    "PricesConfig",
    "ProviderConfig",
    "RangeConfig",
    "RetryConfig",
    "SourceConfig",
    "StageConfig",
    "StageSettings",
    "load_config",
    "load_pipeline",
    "run_config",
]
