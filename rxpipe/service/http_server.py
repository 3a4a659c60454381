"""A small HTTP server on threads. It answers even while a run's event loop is blocked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_SILENCE = 5.0  # seconds in which a client must have sent its request
_POLL = 0.1  # seconds that the end of a server may take


class Answer(NamedTuple):
    """The answer of a path.

    Attributes:
        status: The HTTP status.
        content_type: The type of the body.
        body: The body.
    """

    status: HTTPStatus
    content_type: str
    body: bytes


Answering = Callable[[str], Answer]
"""Answers a GET; it is called on the request's own thread with its ``Accept`` header."""


class HttpServer:
    """Answers GET and HEAD on a few paths. A context manager: it serves on a thread until it is left.

    Attributes:
        url: Its address, without a path.
    """

    def __init__(self, listening: socket.socket, paths: Mapping[str, Answering]) -> None:
        """Prepare the server.

        Args:
            listening: The socket, which is closed at the end.
            paths: The answer of each path. Other paths are not found.
        """
        host, port = listening.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._server = _Server(listening, paths)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[_POLL], name="rxpipe-http", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def __init__(self, listening: socket.socket, paths: Mapping[str, Answering]) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()  # the socket that super().__init__ has made
        self.socket = listening
        self.paths = paths

    def handle_error(self, request: object, client_address: object) -> None:
        """Does nothing: a client that went away is no error of the run."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - no other server makes these
    timeout = _SILENCE
    server_version, sys_version = "rxpipe", ""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        answering = self.server.paths.get(path)
        if answering is None:
            there = ", ".join(self.server.paths)
            answer = Answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", f"there is: {there}\n".encode())
        else:
            answer = answering(self.headers.get("Accept", ""))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Does nothing: a probe every few seconds is not worth a line."""
