"""Calls to language models: any OpenAI-compatible endpoint, or a model that runs in this process.

- ``provider.py``: ``Provider``, an endpoint and a model there; ``client.py``: its connections and their errors
- ``local.py``: ``local_provider``, a model in this process; ``small_model.py``: downloads that model
- ``prompt.py``: files with named fields; ``record_path.py``: fields of records in prompts
- ``structured.py``: pydantic models from replies; ``reply.py``: the text and the usage of a reply
- ``tokens.py``: estimates the tokens of a text
- ``limits.py``, ``headers.py``: how often a server may be called, and how long the server asks to wait
- ``health.py``: stops a run when no call can succeed any more, as with a wrong key; ``exhausted.py``: recognizes
  replies that say that an account has nothing left
- ``errors.py``: the errors of calls, by kind
"""

from __future__ import annotations

from rxpipe.llm.errors import (
    InvalidOutput,
    LLMError,
    PermanentError,
    ProviderUnusable,
    RateLimited,
    Refused,
    Unavailable,
)
from rxpipe.llm.limits import Limits
from rxpipe.llm.local import local_provider
from rxpipe.llm.prompt import Prompt
from rxpipe.llm.provider import Provider
from rxpipe.llm.reply import Prices, Reply

__all__ = [
    "InvalidOutput",
    "LLMError",
    "Limits",
    "PermanentError",
    "Prices",
    "Prompt",
    "Provider",
    "ProviderUnusable",
    "RateLimited",
    "Refused",
    "Reply",
    "Unavailable",
    "local_provider",
]
