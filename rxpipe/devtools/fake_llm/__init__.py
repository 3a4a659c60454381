"""A server that speaks OpenAI's chat completions, costs nothing and fails on demand, for tests and benchmarks.

- ``behaviour.py``: ``Behaviour``: the server's speed, limits and faults; and ``Rate``
- ``server.py``: ``FakeServer``; ``http.py``: its HTTP part (needs aiohttp)
- ``running.py``: ``serving``, a server on a thread of its own
- ``completions.py``: one call, from its body to its response; ``draws.py``: draws its faults, by seed, key and attempt
- ``chat.py``: reads and checks a request; ``responses.py``: the bodies that OpenAI answers with
- ``load.py``: calls that run at the same time slow each other down
- ``limits.py``: token buckets, and the headers about them; ``counts.py``: the counts, as ``/stats`` shows them
- ``reply_texts.py``: the texts of answers; ``chinese.py``: those in Chinese
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
