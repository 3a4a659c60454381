"""``app``: the page as an ASGI app."""

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
    """The page, to serve by itself or to mount in another app at any path.

    ::

        outer = FastAPI()
        outer.mount("/runs", app(store.reader(), store.actor(), allowed_hosts=["bank.example"], authorize=is_staff))

    Args:
        reader: The runs of a store; None for a run without a store.
        actor: Requeues and stops; None for a page to look at only.
        live: The newest snapshot of a run in this process, like ``run.snapshot``; or a ``LiveRun``, which is not
            started or closed here. Of a function the history begins now, on a thread that ends with the run.
        read_only: Refuse every action.
        token: What a browser must show; it has 16 characters at least. ``/?token=...`` lets a browser in, and so does
            the header ``Authorization: Bearer ...``.
        allowed_hosts: Names by which the page may be reached; ``*`` for any. Others are refused, so that no foreign
            site can have its own name stand for this server.
        authorize: Says who may see the page, instead of a token: the outer app's login, for example.
        secrets: Texts that must not reach the page, besides those that look like secrets and those in the environment.
        title: What the page calls itself, like the name of the database.
        seconds: From one look at a live run to the next.

    Without ``token`` and ``authorize``, only this machine may see it.

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
        "predicts": reader is not None and not access.read_only,  # it costs more than to look
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
