"""A page for watching runs, looking into their items, and acting on them. Needs the extra ``web``.

::

    from rxpipe.web import app

    fastapi_app.mount("/runs", app(store.reader(), store.actor()))

Files:

- ``application.py``: ``app``, which puts the parts together; ``serving.py``: a server for the page, also beside a run
- ``guard.py``: lets requests in, and sets the headers that protect a browser; ``access.py``: the rules for this
- ``api.py``: the data of the page, as JSON; ``actions.py``: its actions on runs; ``parameters.py``: checks of requests
- ``hub.py``: one poll for all watchers of a run; ``events.py``: the event stream; ``run_feed.py``: the messages in it
- ``live.py``: a run of this process with its history; ``all_runs.py``: this run together with those of a store
- ``series.py``: numbers over time; ``findings.py``: advice; ``predictions.py``: simulations with other settings
- ``json_values.py``: values as JSON; ``texts.py``: removes secrets and cuts texts; ``pages.py``: the files of the page
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
