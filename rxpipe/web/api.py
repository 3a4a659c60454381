"""The data of the page. Each answer is made on a worker thread, as a reader blocks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rxpipe.errors import RxPipeError
from rxpipe.insight.reading import RunRow, RunsReader
from rxpipe.insight.snapshot import Snapshot
from rxpipe.web.all_runs import AllRuns
from rxpipe.web.events import EventStream, event
from rxpipe.web.hub import Hub, Look, News, TooManyWatchers
from rxpipe.web.json_values import Plain, encoded, part
from rxpipe.web.parameters import NUMBERS, TEXTS, BadRequest, item_filter, number, order, whole
from rxpipe.web.run_feed import RunFeed
from rxpipe.web.series import series

_THREADS = 8  # threads that readers may use at once, of the 40 threads of the whole program
_PAGE, _MOST_PAGE = 100, 500
_POINTS = 600
_SEEN = 120  # earlier snapshots for the findings
_BARS = 2_000
_LISTED = 50  # runs on one page of the list
_MOVING, _RESTING = 1.0, 5.0  # seconds between two looks at a live run, and at one that does not change

_T = TypeVar("_T")
_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Unanswered(Exception):
    """The database did not answer, or refused. The text says why, without secrets."""


class Api:
    """Answers the page's questions about runs."""

    def __init__(self, runs: AllRuns, plain: Plain, about: dict[str, Any], *, moving: float = _MOVING) -> None:
        """Creates the API.

        Args:
            runs: The runs.
            plain: Makes plain values.
            about: The page's title, version and abilities.
            moving: Seconds between two looks at a live run.
        """
        self._runs = runs
        self._plain = plain
        self._about = about
        self._moving = moving
        self.hub = Hub()
        self._threads: CapacityLimiter | None = None

    def routes(self) -> list[Route]:
        """Returns the routes of the API, below ``api``."""
        run = "/runs/{run:int}"
        answers = {
            "/about": self._answer_about,
            "/runs": self._answer_runs,
            run: self._answer_run,
            f"{run}/history": self._answer_history,
            f"{run}/workers": self._answer_workers,
            f"{run}/errors": self._answer_errors,
            f"{run}/items": self._answer_items,
            f"{run}/count": self._answer_count,
            f"{run}/item": self._answer_item,
            f"{run}/text": self._answer_text,
            f"{run}/timeline": self._answer_timeline,
        }
        streams = {"/stream": self._stream_runs, f"{run}/stream": self._stream_run}
        return [
            *(Route(path, self._on_thread(answer), methods=["GET"]) for path, answer in answers.items()),
            *(Route(path, stream, methods=["GET"]) for path, stream in streams.items()),
        ]

    async def on_thread(self, function: Callable[[], _T]) -> _T:
        """Runs a blocking function on a worker thread.

        Raises:
            Unanswered: The function raised; the text is for the page.
        """
        try:
            return await self._run(function)
        except (HTTPException, BadRequest):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a reader raises, the page shows one line
            text = trouble(error, self._plain)
            _log.warning("the page got no answer", error=text, exc_info=not isinstance(error, RxPipeError))
            raise Unanswered(text) from None

    async def _run(self, function: Callable[[], _T]) -> _T:
        if self._threads is None:
            self._threads = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(function, limiter=self._threads)

    def _on_thread(self, answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await self.on_thread(lambda: answer(request))

        return endpoint

    # Answers

    def _answer_about(self, _: Request) -> Response:
        return json_response(self._about)

    def _answer_runs(self, request: Request) -> Response:
        query = request.query_params
        after = whole("after", query.get("after"), 0, most=2**53)
        return json_response(self._listed(after, whole("most", query.get("most"), _LISTED, most=_MOST_PAGE)))

    def _listed(self, after: int, most: int) -> dict[str, Any]:
        """Returns a page of runs with numbers below ``after``; 0 stands for the first page."""
        rows = [row for row in self._runs.runs() if not after or row.number < after]
        following = rows[most - 1].number if len(rows) > most else None
        return {"runs": self._plain.value(rows[:most]), "following": following}

    def _answer_run(self, request: Request) -> Response:
        row, snapshot = self._runs.now(request.path_params["run"])
        return json_response(self._feed(_there(row).number, snapshot).message(row))

    def _feed(self, number: int, newest: Snapshot | None) -> RunFeed:
        """Returns the feed of a run, with its history so far."""
        return RunFeed(self._plain, [*self._runs.history(number, _SEEN), *([] if newest is None else [newest])])

    def _answer_history(self, request: Request) -> Response:
        row = self._row(request)
        most = whole("most", request.query_params.get("most"), _POINTS, most=2 * _POINTS)
        return json_response(
            self._plain.value({"began_at": row.began_at, **series(self._runs.history(row.number, most))})
        )

    def _answer_workers(self, request: Request) -> Response:
        number = self._row(request).number
        return json_response({"workers": self._plain.value([] if not number else self._reader.workers(number))})

    def _answer_errors(self, request: Request) -> Response:
        number = self._row(request).number
        if number:
            return json_response({"errors": self._plain.value(self._reader.errors(number))})
        _, snapshot = self._runs.now(number)
        return json_response(
            {"errors": [] if snapshot is None else [_error(one) for one in self._plain.value(snapshot.errors)]}
        )

    def _answer_items(self, request: Request) -> Response:
        query = request.query_params
        page = self._reader.items(
            request.path_params["run"],
            item_filter(_filter_of(request)),
            order=order(query),
            after=query.get("after") or None,
            most=whole("most", query.get("most"), _PAGE, most=_MOST_PAGE),
        )
        return json_response({"items": [self._plain.item(row) for row in page.items], "following": page.following})

    def _answer_count(self, request: Request) -> Response:
        most = 10_000
        count = self._reader.count(request.path_params["run"], item_filter(_filter_of(request)), most=most)
        return json_response({"count": min(count, most), "or_more": count >= most})

    def _answer_item(self, request: Request) -> Response:
        details = self._reader.item(request.path_params["run"], request.query_params.get("id", ""))
        if details is None:
            raise HTTPException(404, "the run has no such item")
        return json_response(self._plain.details(details))

    def _answer_text(self, request: Request) -> Response:
        """Returns the whole of a text that was cut. A browser can only show or save the answer."""
        details = self._reader.item(request.path_params["run"], request.query_params.get("id", ""))
        text = None if details is None else part(details, request.query_params.get("part", ""))
        if text is None:
            raise HTTPException(404, "there is no such text")
        body = self._plain.redact(text).encode("utf-8", "replace")
        return Response(
            body,
            media_type="text/plain; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="text.txt"'},
        )

    def _answer_timeline(self, request: Request) -> Response:
        query = request.query_params
        since = number("since", query.get("since"), least=0.0) or 0.0
        seconds = number("seconds", query.get("seconds"), least=0.001, most=1e9) or 60.0
        most = whole("most", query.get("most"), _BARS, most=_BARS)
        told = self._reader.timeline(request.path_params["run"], since=since, seconds=seconds, most=most)
        return json_response({**self._plain.value(told), "since": since, "seconds": seconds, "is_cut": told.is_cut})

    # Streams

    async def _stream_runs(self, _: Request) -> Response:
        def new() -> Look:
            before: list[bytes] = []

            def read() -> News:
                listed = self._listed(0, _LISTED)
                news = encoded(listed)
                moves = any(row["state"] == "running" for row in listed["runs"])
                is_new = before != [news]
                before[:] = [news]
                return event("runs", news) if is_new else None, self._moving if moves else _RESTING

            return self._looking(read)

        return await self._stream("runs", new)

    async def _stream_run(self, request: Request) -> Response:
        wanted: int = request.path_params["run"]

        def new() -> Look:
            feeds: list[RunFeed] = []
            before: list[bytes] = []

            def read() -> News:
                row, snapshot = self._runs.now(wanted)
                if not feeds:
                    feeds.append(self._feed(wanted, snapshot))
                elif snapshot is not None:
                    feeds[0].add(snapshot)
                news = encoded(feeds[0].message(row))
                is_new = before != [news]
                before[:] = [news]
                moves = row is not None and row.state == "running"
                return event("run", news) if is_new else None, self._moving if moves else _RESTING

            return self._looking(read)

        return await self._stream(wanted, new)

    def _looking(self, read: Callable[[], News]) -> Look:
        async def look() -> News:
            try:
                return await self._run(read)
            except Exception as error:  # noqa: BLE001 - a database that is away comes back, and the page should wait
                _log.warning("runs could not be read for the page", error=self._plain.redact(str(error)))
                return event("trouble", encoded({"error": trouble(error, self._plain)})), _RESTING

        return look

    async def _stream(self, name: str | int, new: Callable[[], Look]) -> Response:
        news = self.hub.watch(name, new)
        try:
            first = await anext(news, None)  # refusals are answered before the stream begins
        except TooManyWatchers as error:
            raise HTTPException(503, str(error), {"retry-after": "10"}) from None

        async def events() -> AsyncGenerator[bytes]:
            try:
                if first is not None:
                    yield first
                async for one in news:
                    yield one
            finally:
                with anyio.CancelScope(shield=True):
                    await news.aclose()

        return EventStream(events())

    # Parts

    @property
    def _reader(self) -> RunsReader:
        if self._runs.reader is None:
            raise HTTPException(404, "this run keeps no items: it has no store")
        return self._runs.reader

    def _row(self, request: Request) -> RunRow:
        return _there(self._runs.run(request.path_params["run"]))


def _there(row: RunRow | None) -> RunRow:
    if row is None:
        raise HTTPException(404, "there is no such run")
    return row


def trouble(error: BaseException, plain: Plain) -> str:
    """Returns an error as one line without secrets."""
    text = " ".join(str(error).split("\n", 1)[0].split())
    return plain.redact.cut(text or type(error).__name__, 300)


async def on_bad_request(_: Request, error: Exception) -> Response:
    """Answers a request that makes no sense."""
    return JSONResponse({"error": str(error)}, 400)


async def on_unanswered(_: Request, error: Exception) -> Response:
    """Answers that the database did not answer, or refused."""
    return JSONResponse({"error": str(error)}, 503)


async def on_http_error(_: Request, error: Exception) -> Response:
    """Answers that there is no such thing."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def json_response(value: Any) -> Response:
    """Encodes an answer as JSON."""
    return Response(encoded(value), media_type="application/json")


def _filter_of(request: Request) -> dict[str, Any]:
    return {name: request.query_params.get(name) for name in ("status", *TEXTS, *NUMBERS)}


def _error(counted: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": counted["stage"],
        "type": "",
        "text": counted["text"],
        "items": counted["count"],
        "calls": counted["count"],
        "last_at": None,
    }
