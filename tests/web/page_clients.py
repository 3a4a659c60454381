"""Clients of the page, without a network."""

from __future__ import annotations

from starlette.testclient import TestClient
from starlette.types import ASGIApp

ACTION = {"x-rxpipe-action": "1", "content-type": "application/json", "sec-fetch-site": "same-origin"}


def client_of(
    app: ASGIApp, *, host: str = "http://127.0.0.1:8765", address: str = "127.0.0.1", root_path: str = ""
) -> TestClient:
    """A client at an address, which asks for the page by a host's name."""
    return TestClient(app, base_url=host, client=(address, 50_000), root_path=root_path)
