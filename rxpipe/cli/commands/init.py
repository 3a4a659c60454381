"""``rxpipe init``."""

from __future__ import annotations

import json
import os
import shlex
from importlib.resources import files
from pathlib import Path

from rxpipe.config import Config
from rxpipe.errors import ConfigError
from rxpipe.identity.names import file_name
from rxpipe.screen.terminal import say

CONFIG = "pipeline.yaml"
STAGES = "my_stages.py"
SCHEMA = "pipeline.schema.json"


def start(folder: Path) -> None:
    """Write a config, the module of its stages and the schema for editors into a folder. A missing folder is created.

    Raises:
        ConfigError: One of the files exists already, or the files cannot be written.
    """
    templates = files("rxpipe.cli") / "templates"
    texts = {name: (templates / name).read_text(encoding="utf-8") for name in (CONFIG, STAGES)}
    texts[CONFIG] = texts[CONFIG].replace("NAME", file_name(folder.resolve().name) or "my_bank")
    texts[SCHEMA] = json.dumps(Config.model_json_schema(), indent=2) + "\n"
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ConfigError(f"{folder} is a file; allowed: a folder, which is made if need be")
    there = [str(folder / name) for name in texts if os.path.exists(folder / name)]
    if there:
        raise ConfigError(f"not overwritten: {', '.join(there)}; allowed: a folder without them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    say(f"wrote {folder / CONFIG}: the pipeline")
    say(f"      {folder / STAGES}: its stages, to put your own into")
    say(f"      {folder / SCHEMA}: what editors check the pipeline with")
    say(f"next: rxpipe run {shlex.quote(str(folder / CONFIG))}")
