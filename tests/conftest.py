from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import cluster
import hypothesis
import pytest
import servers
import shared_compiling
import structlog
import typer.testing


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--fast`` leaves out what needs a server or takes over a quarter of a second; ``--all`` leaves out nothing."""
    parser.addoption("--fast", action="store_true", help="run neither slow tests nor those that need a server")
    parser.addoption("--all", action="store_true", help="run thorough tests, too: all cases of long ones")


def pytest_configure(config: pytest.Config) -> None:
    """Take Ctrl-C also in the background, where shells have it ignored by all that is started there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.register_profile("some", max_examples=30)
    if not config.getoption("--all"):
        hypothesis.settings.load_profile("some")
    servers.WANTED = not config.getoption("--fast")
    if "PYTHONDONTWRITEBYTECODE" in os.environ:  # compiled modules are kept, or each process would compile anew
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = os.path.join(tempfile.gettempdir(), "rxpipe-pycache")
        del os.environ["PYTHONDONTWRITEBYTECODE"]
        sys.dont_write_bytecode = False
    _start_postgres(config)
    shared_compiling.share()
    testing: Any = typer.testing
    testing._get_command = cache(typer.main.get_command)  # the command line is made once, not for each call of it


def _start_postgres(config: pytest.Config) -> None:
    """Start a server for all the processes that run tests, if there are several and no server is named."""
    several = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if several and servers.WANTED and "RXPIPE_TEST_POSTGRES" not in os.environ and cluster.why_none() is None:
        until_the_end = ExitStack()
        config.add_cleanup(until_the_end.close)
        os.environ["RXPIPE_TEST_POSTGRES"] = until_the_end.enter_context(cluster.own_cluster(tcp=True)).url


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take slow tests out; those that last longest come first, so that no process is left alone with one."""
    items.sort(key=lambda item: "faults" not in item.path.parts)
    if config.getoption("--fast"):
        _leave_out(config, items, "slow")
    if not config.getoption("--all"):
        _leave_out(config, items, "thorough")
        if not any(".py" in argument for argument in config.args):
            _leave_out_every_other_case(config, items)


def _leave_out(config: pytest.Config, items: list[pytest.Item], marker: str) -> None:
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(marker)])
    items[:] = [item for item in items if not item.get_closest_marker(marker)]


def _leave_out_every_other_case(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of slow tests with several cases, unless files are named: then all cases of these are wanted."""
    cases: defaultdict[str, int] = defaultdict(int)
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        name, case, _ = item.nodeid.partition("[")
        if case and item.get_closest_marker("slow"):
            cases[name] += 1
        (left if case and cases[name] and cases[name] % 2 == 0 else kept).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def pytest_collection_finish() -> None:
    """Have the garbage collector look at what tests make, not at all that was imported for them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """The command line sets up how its process logs."""
    yield
    structlog.reset_defaults()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Use all cores, which are four for two as tests wait, too; one if files are named: these end sooner so."""
    cores = os.cpu_count() or 1
    return 0 if all(".py" in argument for argument in config.args) else cores + min(cores, 4)
