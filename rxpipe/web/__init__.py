"""A page on which to watch runs, look into their items and act on them; needs the extra ``web``.

::

    from rxpipe.web import app

    fastapi_app.mount("/runs", app(store.reader(), store.actor()))

What is where:

- ``application.py``: ``app``, which puts the parts together; ``serving.py``: a server for it, also beside a run
- ``guard.py``: who is let in, and the headers that keep a browser safe; ``access.py``: the rules of it
- ``api.py``: what the page reads, as JSON; ``actions.py``: what it does to runs; ``parameters.py``: what it may ask for
- ``hub.py``: the stream, one poll for all who watch; ``events.py``: its HTTP; ``run_feed.py``: what is told of a run
- ``live.py``: a run of this process, with its history; ``all_runs.py``: that beside those of a store
- ``series.py``: numbers over time; ``findings.py``: advice; ``predictions.py``: what other settings would do
- ``json_values.py``: values as JSON; ``texts.py``: texts without secrets, cut; ``pages.py``: the files of the page
- ``static/``: the page itself; ``static/VENDORED.md``: the libraries in it
"""

from __future__ import annotations

from rxpipe.errors import ConfigError
from rxpipe.extras import install

try:
    from rxpipe.web.application import app
    from rxpipe.web.live import LiveRun
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] not in ("anyio", "starlette"):
        raise
    raise ConfigError(f"the page needs the extra web: {install('web')}") from missing

__all__ = ["LiveRun", "app"]
