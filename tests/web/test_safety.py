"""Who is let in, and what reaches a browser."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rxpipe.web import app
from rxpipe.web.guard import POLICY
from rxpipe.web.texts import MASK, Redactor, secrets_in

from .fake_figures import ATTACKS, HOSTILE, KEY, LIVE, PASSWORD
from .fake_runs import FakeRuns
from .page_clients import client_of

TOKEN = "a-token-of-more-than-16"


# Who is let in


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "[", "a b"])
@pytest.mark.parametrize("path", ["/", "/api/runs", "/static/main.js"])
def test_foreign_hosts(client: TestClient, host: str, path: str) -> None:
    """A site whose name stands for this machine's address reads nothing."""
    assert client.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1", "[::1]:8765", "LOCALHOST"])
def test_own_hosts(client: TestClient, host: str) -> None:
    """With any port."""
    assert client.get("/api/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"},
    ],
)
def test_foreign_pages_read_nothing(client: TestClient, headers: dict[str, str]) -> None:
    """Neither the API nor the stream."""
    for path in ("/api/runs", f"/api/runs/{LIVE}/stream"):
        assert client.get(path, headers=headers).status_code == 403


def test_a_link_to_the_page_works(client: TestClient) -> None:
    """From a chat, say; but no foreign page has it in a frame."""
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/", headers={**link, "sec-fetch-dest": "iframe"}).status_code == 403


def test_beyond_loopback_without_a_token(runs: FakeRuns) -> None:
    """It is refused to begin with, or by the address."""
    with pytest.raises(ValueError, match="give a token"):
        app(runs, allowed_hosts=["bank.example"])
    with pytest.raises(ValueError, match="16 characters"):
        app(runs, token="short")
    with client_of(app(runs), address="10.0.0.7") as client:
        assert client.get("/api/runs").status_code == 401


def test_a_token(runs: FakeRuns) -> None:
    """By header, by address once and a cookie from then on; never by a wrong one."""
    page = app(runs, runs, token=TOKEN, allowed_hosts=["bank.example"])
    with client_of(page, host="http://bank.example", address="10.0.0.7") as client:
        assert client.get("/api/runs").status_code == 401
        assert client.get("/static/main.js").status_code == 401
        assert client.get("/api/runs", headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
        assert client.get("/api/runs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        door = client.get("/")
        assert (door.status_code, 'name="token"' in door.text) == (401, True)
        assert client.get("/", params={"token": "wrong"}).status_code == 401
        assert client.get("/api/runs", params={"token": TOKEN}).status_code == 401
        entered = client.get("/", params={"token": TOKEN})
        assert entered.status_code == 200
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/api/runs").status_code == 200


def test_a_token_also_on_loopback(runs: FakeRuns) -> None:
    """Other users of this machine have its address, too."""
    with client_of(app(runs, token=TOKEN)) as client:
        assert client.get("/api/runs").status_code == 401


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_the_outer_app_says_who_is_let_in(runs: FakeRuns, kind: str) -> None:
    """By any rule."""

    def plain(connection: Any) -> bool:
        return bool(connection.headers.get("x-user") == "staff")

    async def later(connection: Any) -> bool:
        return plain(connection)

    page = app(runs, allowed_hosts=["bank.example"], authorize=plain if kind == "plain" else later)
    with client_of(page, host="http://bank.example", address="10.0.0.7") as client:
        assert client.get("/api/runs").status_code == 401
        assert client.get("/api/runs", headers={"x-user": "staff"}).status_code == 200


def test_no_websockets(client: TestClient) -> None:
    """There are none, and nobody looks for them."""
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/stream"):
        pass


# What a browser is told


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/runs", "/api/nothing", "/api/runs/99", "/nothing"])
def test_each_answer_has_the_headers(client: TestClient, path: str) -> None:
    """Errors, too."""
    headers = client.get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"


def test_refusals_have_the_headers_too(client: TestClient) -> None:
    """A frame of an error page is a frame."""
    response = client.get("/", headers={"host": "evil.example"})
    assert response.headers["content-security-policy"] == POLICY


def test_the_policy_allows_nothing_inline() -> None:
    """Nor anything from elsewhere."""
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert "default-src 'none'" in POLICY
    assert "frame-ancestors 'none'" in POLICY


@pytest.mark.parametrize(
    "path",
    [
        "/static/../application.py",
        "/static/..%2fapplication.py",
        "/static/%2e%2e/application.py",
        "/static/..%5capplication.py",
        "/static//etc/passwd",
        "/static/vendor/../../application.py",
        "/static/vendor/%00",
        "/static/",
        "/static/VENDORED.md",
        "/static/" + "a" * 10_000,
    ],
)
def test_no_path_leads_out(client: TestClient, path: str) -> None:
    """Files are found by their names in a table."""
    assert client.get(path).status_code == 404


# What texts may hold


def test_no_secret_reaches_the_json(runs: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords in URLs, keys of well-known forms, and those in the environment."""
    monkeypatch.setenv("BANK_API_KEY", "a-key-like-no-other")
    runs.error = None
    with client_of(app(runs, runs, title=f"postgresql://me:{PASSWORD}@host/bank")) as client:
        for run in (LIVE, HOSTILE):
            for path in ("", "/errors", "/items?status=failed&most=50", "/item?id=1", "/item?id=299", "/history"):
                text = client.get(f"/api/runs/{run}{path}").text
                assert PASSWORD not in text
                assert KEY not in text
        assert PASSWORD not in client.get("/api/about").text
        runs.error = OSError(f"no route to postgresql://me:{PASSWORD}@host/bank with a-key-like-no-other")
        response = client.get("/api/runs")
        assert response.status_code == 503
        assert PASSWORD not in response.text
        assert "a-key-like-no-other" not in response.text
        assert response.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg://me:pa:ss@host/db", f"postgresql+psycopg://me:{MASK}@host/db"),
        ("amqp://guest:guest@mq:5672//", f"amqp://guest:{MASK}@mq:5672//"),
        ("https://host/path:8/a@b", "https://host/path:8/a@b"),
        ("Authorization: Bearer abcdefgh12345", f"Authorization: Bearer {MASK}"),
        ("api_key='abcdef123456'", f"api_key='{MASK}'"),
        ('{"password": "correct horse"}', f'{{"password": "{MASK} horse"}}'),
        (f"key {KEY}.", f"key {MASK}."),
        ("AKIAABCDEFGHIJKLMNOP", MASK),
        ("a task-force of desk-bound risk-averse people", "a task-force of desk-bound risk-averse people"),
        ("the secret of tokens", "the secret of tokens"),
    ],
)
def test_what_is_a_secret(text: str, expected: str) -> None:
    """And what is not."""
    assert Redactor()(text) == expected


def test_secrets_of_the_environment() -> None:
    """Variables that are named like secrets, and passwords of URLs."""
    found = secrets_in({"OPENAI_API_KEY": "one", "HOME": "/root", "DATABASE": "postgresql://me:two@host/db"})
    assert found == ["one", "two"]
    assert Redactor(["longer-than-eight"])("it is longer-than-eight") == f"it is {MASK}"
    assert Redactor(["short", ""])("a short text") == "a short text"


def test_a_secret_across_a_cut_does_not_show_half() -> None:
    """It is masked before the text is cut."""
    text = "x" * 94 + " " + KEY
    assert KEY[:4] not in Redactor().cut(text, 100)


@pytest.mark.parametrize(
    "text", ["://" * 300_000, "password" * 100_000, "sk-" * 300_000, "Bearer " * 100_000, ":@" * 400_000]
)
def test_no_text_takes_long_to_look_through(text: str) -> None:
    """A megabyte that was made to: time grows with the length alone."""
    began = time.process_time()
    Redactor(["some-known-secret"])(text)
    assert time.process_time() - began < 5


def test_attacks_come_as_they_are_and_as_json(client: TestClient) -> None:
    """The page makes text nodes of them; nothing is lost on the way there."""
    response = client.get(f"/api/runs/{HOSTILE}/errors")
    assert response.headers["content-type"] == "application/json"
    assert response.content.isascii()
    texts = [row["text"] for row in response.json()["errors"]]
    assert ATTACKS[0] in texts
    assert ATTACKS[6] in texts


def test_an_item_with_any_id_is_found(client: TestClient) -> None:
    """Whatever its characters."""
    for row in client.get(f"/api/runs/{HOSTILE}/items?most=9").json()["items"]:
        told = client.get(f"/api/runs/{HOSTILE}/item", params={"id": row["key"].encode("utf-8", "replace").decode()})
        assert told.status_code == 200 or "\ud800" in row["key"]


def test_long_texts_are_cut_and_can_be_had(client: TestClient) -> None:
    """Two megabytes: the beginning in the JSON, all of it as a file that no browser takes for a page."""
    response = client.get(f"/api/runs/{LIVE}/item?id=8")
    assert len(response.content) < 50_000
    output = response.json()["outputs"][1]["output"]
    assert (output["length"], output["cut"], len(output["text"])) == (2_000_000, True, 4_001)
    whole = client.get(f"/api/runs/{LIVE}/text", params={"id": "8", "part": output["path"]})
    assert whole.text == "x" * 2_000_000
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["content-disposition"].startswith("attachment")
    assert whole.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "part", ["", "outputs/9", "outputs/-1", "outputs/x", "calls/0/exchanges/0/9", "calls/²/error", "__class__"]
)
def test_parts_that_are_not_there(client: TestClient, part: str) -> None:
    """Only what an item has can be asked for."""
    assert client.get(f"/api/runs/{LIVE}/text", params={"id": "8", "part": part}).status_code == 404


def test_the_environment_of_tests_is_left_alone() -> None:
    """What is asked of it is read when the page is made."""
    assert "BANK_API_KEY" not in os.environ
