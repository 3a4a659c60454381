"""Configs with a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from rxpipe.config import Config, load_config

from .source_helpers import Configured


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Writes a config with a source, and loads it."""

    def configuring(source: str, more: str = "") -> Config:
        path = tmp_path / "pipeline.yaml"
        path.write_text(f"source: {source}\n{more}", encoding="utf-8")
        return load_config(path)

    return configuring
