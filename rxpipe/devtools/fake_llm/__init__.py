"""A server that speaks OpenAI's chat completions, costs nothing and fails as it is told, for tests and benchmarks.

- ``behaviour.py``: ``Behaviour``, how quick, how limited and how faulty it is, and ``Rate``
- ``server.py``: ``FakeServer``; ``http.py``: what is HTTP of it (needs aiohttp)
- ``running.py``: ``serving``, one on a thread of its own
- ``completions.py``: one call, from its body to its response; ``draws.py``: whether it fails, by seed, key and attempt
- ``chat.py``: what a request asks for, or what is wrong with it; ``responses.py``: the bodies that OpenAI answers with
- ``load.py``: calls that run at the same time slow each other down
- ``limits.py``: token buckets, and headers that tell of them; ``counts.py``: what was counted, as ``/stats`` shows it
- ``reply_texts.py``: the texts that it answers with; ``chinese.py``: those in Chinese
- ``schema_instances.py``: an instance of any JSON schema; ``json_values.py``: JSON that may be anything

Example::

    with serving(Behaviour(latency=0.2, load_slots=16, fail=0.05, rate_limit=Rate.parse("60/s"))) as server:
        client = openai.OpenAI(base_url=server.url, api_key="any")
        ...
        print(server.stats()["by_status"])
"""

from __future__ import annotations

from rxpipe.devtools.fake_llm.behaviour import Behaviour, Rate
from rxpipe.devtools.fake_llm.counts import KeyStats, Stats
from rxpipe.devtools.fake_llm.draws import key_of
from rxpipe.devtools.fake_llm.running import serving
from rxpipe.devtools.fake_llm.server import FakeServer

__all__ = ["Behaviour", "FakeServer", "KeyStats", "Rate", "Stats", "key_of", "serving"]
