"""The page's actions on runs. Each action is logged with the address of the client."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rxpipe.insight.reading import ItemFilter, RunsActor
from rxpipe.web.api import Api
from rxpipe.web.parameters import BadRequest, item_filter

_MOST_BODY = 2_000_000  # bytes
_MOST_IDS = 10_000

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Actions:
    """Requeues items and stops runs."""

    def __init__(self, actor: RunsActor, api: Api) -> None:
        """Creates the actions.

        Args:
            actor: Carries the actions out.
            api: The API whose threads run the actions.
        """
        self._actor = actor
        self._api = api

    def routes(self) -> list[Route]:
        """Returns the routes of the actions, below ``api``."""
        return [
            Route("/runs/{run:int}/requeue", self._requeue, methods=["POST"]),
            Route("/runs/{run:int}/stop", self._stop, methods=["POST"]),
        ]

    async def _requeue(self, request: Request) -> Response:
        run: int = request.path_params["run"]
        body = await _body(request)
        wanted = _wanted(body)
        asked = len(wanted) if not isinstance(wanted, ItemFilter) else body["filter"]
        done = await self._done(lambda: self._actor.requeue(run, wanted))
        _log.info("items requeued from the page", run=run, requeued=done, asked=asked, client=_client(request))
        return JSONResponse({"requeued": done})

    async def _stop(self, request: Request) -> Response:
        run: int = request.path_params["run"]
        abort = (await _body(request)).get("abort", False)
        if not isinstance(abort, bool):
            raise BadRequest("abort must be true or false")
        told = await self._done(lambda: self._actor.stop(run, abort=abort))
        _log.info("run stopped from the page", run=run, abort=abort, told=told, client=_client(request))
        return JSONResponse({"told": told})

    async def _done(self, action: Callable[[], int]) -> int:
        return await self._api.on_thread(action)


def _wanted(body: dict[str, Any]) -> ItemFilter | Sequence[str]:
    """Returns the IDs or the filter of a request. The request must give one of them, even an empty filter."""
    ids: Any = body.get("items")
    wanted: Any = body.get("filter")
    if (ids is None) == (wanted is None):
        raise BadRequest("give either items or filter")
    if isinstance(wanted, dict):
        given = dict[str, Any](wanted)  # pyright: ignore[reportUnknownArgumentType] - JSON
        unknown = set(given) - {"status", "stage", "error", "text", "parent", "longer_than", "since", "until"}
        if unknown:  # a misspelt filter would match more items than intended
            raise BadRequest(f"a filter has no {', '.join(sorted(map(repr, unknown)))}")
        return item_filter(given)
    several = list[Any](ids) if isinstance(ids, list) else []  # pyright: ignore[reportUnknownArgumentType] - JSON
    if not several or not all(isinstance(one, str) for one in several):
        raise BadRequest("items must be IDs, as texts")
    if len(several) > _MOST_IDS:
        raise BadRequest(f"at most {_MOST_IDS} items at once")
    return several


async def _body(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BODY:
            raise HTTPException(413, "this is too much")
    try:
        given: Any = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise BadRequest("this is no JSON") from None
    if not isinstance(given, dict):
        raise BadRequest("a JSON object is expected")
    return dict[str, Any](given)  # pyright: ignore[reportUnknownArgumentType] - JSON


def _client(request: Request) -> str | None:
    return None if request.client is None else request.client.host


async def refused(_: Request) -> Response:
    """Answers that the page is read-only."""
    return JSONResponse({"error": "this page is read-only"}, 403)
