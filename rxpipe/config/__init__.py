"""Turns a YAML file into a pipeline and its IDs.

- ``model.py``: the config as a whole, and ``load_config``
- ``sections.py``, ``source_section.py``, ``llm_sections.py``, ``executor_sections.py``: the keys of a config, with
  their defaults; ``section_base.py``: the base of all sections; ``consistency.py``, ``flow_consistency.py``: keys that
  must agree, looked up with ``plain_data.py``
- ``settings.py``: single settings by their paths, as options of commands change them
- ``yaml_file.py``, ``error_texts.py``: reading the file, and error messages about the file
- ``sources/``: the IDs or records of a ``source``; ``imports.py``: ``module:function``
- ``run_config.py``: a config as one call of Python code
- ``build.py``: the pipeline that a config describes; ``arguments.py``, ``providers.py``: the arguments of its
  functions; ``stage_fits.py``: checks that its stages fit together; ``field_fits.py``: checks that the fields that it
  names are there; ``value_fields.py``: predicates and keys of values
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
