"""From a YAML file to a pipeline and its IDs.

- ``model.py``: the config as a whole, and ``load_config``
- ``sections.py``, ``source_section.py``, ``llm_sections.py``, ``executor_sections.py``: its keys, with their defaults,
  made of what is in ``section_base.py``; ``consistency.py``, ``flow_consistency.py``: keys that must agree, looked for
  with ``plain_data.py``
- ``settings.py``: single settings by their paths, as options of commands change them
- ``yaml_file.py``, ``error_texts.py``: reading the file, and saying what is wrong in it
- ``sources/``: the IDs or records of a ``source``; ``imports.py``: ``module:function``
- ``run_config.py``: a config as one call of Python code
- ``build.py``: the pipeline that a config describes; ``arguments.py``, ``providers.py``: what its functions are given;
  ``stage_fits.py``: whether its stages fit together; ``field_fits.py``: whether the fields that it names are
  there; ``value_fields.py``: predicates and keys of values
"""

from __future__ import annotations

from rxpipe.config.llm_sections import LimitsConfig, PricesConfig, ProviderConfig
from rxpipe.config.model import Config, StageSettings, load_config
from rxpipe.config.run_config import load_pipeline, run_config
from rxpipe.config.sections import BatchConfig, DatabaseConfig, OutputConfig, PipelineConfig, RetryConfig, StageConfig
from rxpipe.config.source_section import RangeConfig, SourceConfig

__all__ = [
    "BatchConfig",
    "Config",
    "DatabaseConfig",
    "LimitsConfig",
    "OutputConfig",
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
