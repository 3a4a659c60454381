"""The files of the page. They are read once and found by their full names, so no request reads a path on the disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_CHECKED = "no-cache"  # a browser asks each time whether its copy is still current


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    type: str
    tag: str


class Pages:
    """Serves the page and its files."""

    def __init__(self) -> None:
        """Reads the files."""
        self._files = dict(_read(files("rxpipe.web") / "static", ""))

    async def index(self, request: Request) -> Response:
        """Serves the page. The page fetches its data itself."""
        return self._answer("index.html", request)

    async def file(self, request: Request) -> Response:
        """Serves one file of the page."""
        return self._answer(request.path_params["path"], request)

    def door(self, *, wrong: bool) -> Response:
        """Returns the page that asks for the token."""
        body = self._files["wrong.html" if wrong else "door.html"].body
        return Response(body, 401, media_type=_TYPES["html"])

    def _answer(self, name: str, request: Request) -> Response:
        file = self._files.get(name)
        if file is None:
            return PlainTextResponse("there is no such file", 404)
        headers = {"etag": file.tag, "cache-control": _CHECKED}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers, media_type=file.type)


def _read(folder: Traversable, prefix: str) -> list[tuple[str, _File]]:
    found: list[tuple[str, _File]] = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _read(entry, f"{name}/")
        elif media_type := _TYPES.get(entry.name.rpartition(".")[2]):
            body = entry.read_bytes()
            found.append((name, _File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:24]}"')))
    return found
