"""``rxpipe view``, and the page beside ``rxpipe run --view``."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Self

from rxpipe.cli.commands.store_location import StoreLocation, store_at
from rxpipe.cli.messages import configure_logs
from rxpipe.config import Config, load_config
from rxpipe.database.engine import shown, whole_url
from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.insight.snapshot import Snapshot
from rxpipe.screen.terminal import say
from rxpipe.secret_values import secret
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
    with store_at(where, as_json=True) as engine, ExitStack() as beside:
        title = whole_url(engine)
        store = RunStore(engine)
        at = place(options.host, options.port, options.names)
        beside.callback(at.listening.close)
        made = app(
            store.reader(),
            None if options.read_only else store.actor(),
            read_only=options.read_only,
            token=at.token,
            allowed_hosts=at.allowed_hosts,
            secrets=_secrets(None if where.config is None else load_config(where.config), engine.url.password),
            title=title,
        )

        def ready() -> None:
            say(f"database: {title}")
            say(f"page: {at.url}")
            if options.browser:
                _open(at.url)

        with suppress(KeyboardInterrupt):  # the way to end the page
            serve(made, at, ready=ready)


class RunPage:
    """A page of a run of this process, for this machine only. Its address is printed to standard error."""

    def __init__(self, config: Config, port: int | None = None) -> None:
        """Find a port for the page, before the run begins.

        Args:
            config: The run's config. If the config is durable, the page shows the other runs of its store, too.
            port: The port; None for the first free port from 8765 on.

        Raises:
            ConfigError: The extra is not installed, or no port is free.
        """
        check_installed()
        from rxpipe.web.serving import place

        self._config = config
        self._at = place(port=port)
        self._opened = ExitStack()

    def begin(self, latest: Callable[[], Snapshot]) -> None:
        """Serve the page. Call this when the run has begun and its store exists.

        Args:
            latest: Returns the run's newest snapshot.
        """
        from rxpipe.web import LiveRun, app
        from rxpipe.web.all_runs import number_of
        from rxpipe.web.serving import served

        url = self._config.database.url
        store = RunStore(url) if self._config.durable else None
        live = self._opened.enter_context(LiveRun(latest))
        page = app(
            None if store is None else self._opened.enter_context(store.reader()),
            None if store is None else self._opened.enter_context(store.actor()),
            live=live,
            title=shown(url) if self._config.output is None else self._config.output.jsonl,
            secrets=_secrets(self._config, None),
        )
        self._opened.enter_context(served(page, self._at))
        say(f"page: {self._at.url}#/runs/{number_of(latest())}", err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        self._at.listening.close()


def check_installed() -> None:
    """Check that the page can be served.

    Raises:
        ConfigError: The extra is not installed.
    """
    if any(find_spec(package) is None for package in ("starlette", "uvicorn")):
        raise ConfigError(f"the page needs the extra web: {install('web')}")


def _secrets(config: Config | None, password: str | None) -> list[str]:
    """Returns the texts that must not be shown: the database's password, and the keys of the config's providers."""
    providers = {} if config is None else dict(config.providers)
    variables = [one.api_key_env for one in providers.values() if one.api_key_env is not None]
    return [known for known in (password, *(secret(name) for name in variables)) if known]


def _open(url: str) -> None:
    """Open a browser, if there is a screen."""
    if os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    webbrowser.open(url)
