"""``rxpipe view``, and the page beside ``rxpipe run --view``."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec

from rxpipe.cli.commands.store_location import StoreLocation, store_at
from rxpipe.cli.messages import configure_logs
from rxpipe.config import Config
from rxpipe.database.engine import shown, whole_url
from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.insight.snapshot import Snapshot
from rxpipe.screen.terminal import say
from rxpipe.store import RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of ``rxpipe view``."""

    host: str = "127.0.0.1"
    port: int | None = None
    names: tuple[str, ...] = ()
    read_only: bool = False
    browser: bool = True


def view(where: StoreLocation, options: Options) -> None:
    """Serve the page until a signal comes.

    Raises:
        ConfigError: There is no store, the extra is not installed, or the address cannot be used.
    """
    check_installed()
    from rxpipe.web import app
    from rxpipe.web.serving import place, serve

    configure_logs()
    with store_at(where, as_json=True) as engine:
        title = whole_url(engine)
        store = RunStore(engine)
        at = place(options.host, options.port, options.names)
        made = app(
            store.reader(),
            None if options.read_only else store.actor(),
            read_only=options.read_only,
            token=at.token,
            allowed_hosts=at.allowed_hosts,
            secrets=_secrets(engine.url.password),
            title=title,
        )

        def ready() -> None:
            say(f"database: {title}")
            say(f"page: {at.url}")
            if options.browser:
                _open(at.url)

        with suppress(KeyboardInterrupt):  # the way to end it
            serve(made, at, ready=ready)


@contextmanager
def viewed(config: Config, latest: Callable[[], Snapshot | None]) -> Generator[None]:
    """A page of a run of this process, on loopback, while the block lasts; its address goes to standard error.

    Args:
        config: The run's config; if it is durable, the page shows the runs of its store, too.
        latest: Gives the run's newest snapshot; None while there is none.

    Raises:
        ConfigError: The extra is not installed.
    """
    check_installed()
    from rxpipe.web import LiveRun, app
    from rxpipe.web.serving import place, served

    url = config.database.url
    store = RunStore(url) if config.durable else None
    at = place()
    with LiveRun(latest) as live:
        made = app(
            None if store is None else store.reader(),
            None if store is None else store.actor(),
            live=live,
            title=shown(url),
            secrets=_secrets(None),
        )
        with served(made, at):
            say(f"page: {at.url}", err=True)
            yield


def check_installed() -> None:
    """Refuse where the page cannot be served.

    Raises:
        ConfigError: The extra is not installed.
    """
    if any(find_spec(package) is None for package in ("starlette", "uvicorn")):
        raise ConfigError(f"the page needs the extra web: {install('web')}")


def _secrets(*known: object) -> Iterable[str]:
    return [str(one) for one in known if one]


def _open(url: str) -> None:
    """A browser, where there is a screen for one."""
    if os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    webbrowser.open(url)
