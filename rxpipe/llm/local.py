"""A language model in this process: llama.cpp's own server on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from rxpipe.errors import ConfigError
from rxpipe.llm.limits import Limits
from rxpipe.llm.provider import Provider, need
from rxpipe.llm.reply import Prices
from rxpipe.llm.small_model import FETCH_COMMAND, model_path

_TOKENS = 2048  # of a prompt and its reply together
_QUIET = -1
_LONGEST_TEXT = 300  # characters of each text; without a limit a small model may never end a text


def local_provider(
    gguf: str | os.PathLike[str] | None = None,
    *,
    slots: int = 2,
    limits: Limits | None = None,
    prices: Prices | None = None,
    options: Mapping[str, Any] | None = None,
    name: str = "local",
) -> Provider:
    """Returns a provider that runs a model in this process. Use it to try things without a network, a key or a bill.

    The first call starts the server. The server stops with the event loop. More calls at once than ``slots`` wait for
    each other, within their timeouts.

    Args:
        gguf: The model's file. The default is SmolLM2-135M, which ``rxpipe fetch-model`` downloads. It is small and
            quick, and often wrong.
        slots: How many calls the model works on at once, at least 1.
        limits: As for ``Provider``.
        prices: As for ``Provider``.
        options: Parameters of every request. ``max_tokens`` is 256 by default.
        name: The provider's name in errors.

    Raises:
        ConfigError: The model's file, a package of the extra ``local``, or a library of the system is missing.
        ValueError: ``slots`` is below 1.
    """
    if not slots >= 1:
        raise ValueError(f"slots must be at least 1, not {slots}")
    need("xllamacpp", "openai", "aiohttp", extra="local")
    _llama()
    path = model_path() if gguf is None else Path(gguf)
    if not path.is_file():
        hint = f"the small model is not here yet: run `{FETCH_COMMAND}`, which downloads 93 MB, once"
        raise ConfigError(hint if gguf is None else f"{path}: there is no such model file")

    @asynccontextmanager
    async def server() -> AsyncGenerator[str]:
        running = await asyncio.to_thread(_start, path, slots)
        try:
            yield f"{running.listening_address}/v1"
        finally:
            servers = [running]
            del running
            await asyncio.to_thread(servers.clear)  # deleting the server stops it, which takes a moment

    return Provider(
        model=path.stem,
        limits=limits,
        prices=prices,
        longest_text=_LONGEST_TEXT,
        options={"max_tokens": 256, **(options or {})},
        server=server,
        name=name,
    )


def _llama() -> Any:
    """Import llama.cpp, which has no types.

    Raises:
        ConfigError: A library of the system is missing. Slim images have no ``libgomp.so.1``.
    """
    try:
        return import_module("xllamacpp")
    except ImportError as error:
        hint = ": install it, with `apt-get install libgomp1` on Debian" if "libgomp" in str(error) else ""
        raise ConfigError(f"xllamacpp cannot be loaded: {error}{hint}") from None


def _start(path: Path, slots: int) -> Any:
    """Start a server, and return it when it is ready for calls.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    xllamacpp = _llama()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.port = 0
    parameters.n_parallel = slots
    parameters.n_ctx = slots * _TOKENS
    # llama.cpp's threads wait for each other by spinning. A thread without its own processor would delay all others.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 1) // 2)
    parameters.verbosity = _QUIET
    parameters.ui = False
    try:
        return xllamacpp.Server(parameters)
    except Exception as error:  # noqa: BLE001 - any error of a file that is no model
        raise ConfigError(f"{path}: the model cannot be loaded: {error}") from None
