"""``app`` makes the page as an ASGI app."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route

from rxpipe.insight.reading import RunsActor, RunsReader
from rxpipe.insight.snapshot import Snapshot
from rxpipe.web.access import LOOPBACK, Access, Authorize
from rxpipe.web.actions import Actions, refused
from rxpipe.web.all_runs import AllRuns
from rxpipe.web.api import Api, Unanswered, on_bad_request, on_http_error, on_unanswered
from rxpipe.web.guard import Guard
from rxpipe.web.json_values import Plain
from rxpipe.web.live import LiveRun
from rxpipe.web.pages import Pages
from rxpipe.web.parameters import BadRequest
from rxpipe.web.predictions import Predictions
from rxpipe.web.texts import Redactor, secrets_in


def app(
    reader: RunsReader | None,
    actor: RunsActor | None = None,
    *,
    live: Callable[[], Snapshot | None] | LiveRun | None = None,
    read_only: bool = False,
    token: str | None = None,
    allowed_hosts: Collection[str] = LOOPBACK,
    authorize: Authorize | None = None,
    secrets: Iterable[str] = (),
    title: str | None = None,
    seconds: float = 1.0,
) -> Starlette:
    """Makes the page as an app. Serve the app by itself, or mount it in another app at any path.

    ::

        outer = FastAPI()
        outer.mount("/runs", app(store.reader(), store.actor(), allowed_hosts=["bank.example"], authorize=is_staff))

    Without ``token`` and ``authorize``, only requests from this machine are let in.

    Args:
        reader: Reads the runs of a store; None for a run without a store.
        actor: Requeues items and stops runs; None for a read-only page.
        live: A run of this process: a function that returns the newest snapshot, like ``run.snapshot``, or a
            ``LiveRun``. You start and close a ``LiveRun`` yourself. With a function, the history begins now, on a
            thread that ends with the run.
        read_only: If True, the page refuses all actions.
        token: The token that a browser must show, of at least 16 characters. Give it as ``/?token=...``, or in the
            header ``Authorization: Bearer ...``.
        allowed_hosts: Host names by which the page may be reached; ``*`` allows any. Requests with other names are
            refused, which protects against DNS rebinding: a foreign site whose name points to this server.
        authorize: Decides who may see the page, instead of a token; for example the login of the outer app.
        secrets: Texts that must not reach the page. Texts that look like secrets, and secrets in environment variables,
            are always masked.
        title: The title of the page, such as the name of the database.
        seconds: Seconds between two looks at a live run.

    Returns:
        A Starlette app.

    Raises:
        ValueError: The page would be open to anybody, or the token is too short.
    """
    access = Access(token, allowed_hosts, authorize, read_only=read_only or actor is None)
    redactor = Redactor([*secrets, *secrets_in(os.environ), *([token] if token else ())])
    plain = Plain(redactor)
    if live is not None and not isinstance(live, LiveRun):
        live = LiveRun(live, seconds=seconds)
        live.start()
    about = {
        "title": None if title is None else redactor(title),
        "version": _version(),
        "read_only": access.read_only,
        "has_store": reader is not None,
        "predicts": reader is not None and not access.read_only,  # simulations cost more than reading
    }
    runs = AllRuns(reader, live)
    api = Api(runs, plain, about, moving=seconds)
    answers = api.routes()
    if about["predicts"]:
        answers += Predictions(runs, plain, api).routes()
    else:
        answers.append(Route("/runs/{run:int}/whatif", refused, methods=["GET"]))
    pages = Pages()
    acting: list[BaseRoute] = []
    if actor is not None and not read_only:
        acting.extend(Actions(actor, api).routes())
    else:
        acting.append(Route("/{path:path}", refused, methods=["POST"]))
    routes: list[BaseRoute] = [
        Route("/", pages.index, methods=["GET"]),
        Route("/static/{path:path}", pages.file, methods=["GET"]),
        Mount("/api", routes=[*answers, *acting]),
    ]

    handlers: dict[Any, Any] = {
        BadRequest: on_bad_request,
        HTTPException: on_http_error,
        Unanswered: on_unanswered,
    }
    made = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access, pages=pages)],
        exception_handlers=handlers,
    )
    made.state.api = api
    return made


def _version() -> str:
    try:
        return version("rxpipe")
    except PackageNotFoundError:
        return ""
