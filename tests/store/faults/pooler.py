"""PgBouncer in transaction mode, before the PostgreSQL server of the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline_helpers import until
from sqlalchemy import URL

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

_SETTINGS = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_port = 6543
listen_addr =
unix_socket_dir = {directory}
logfile = {directory}/log
auth_type = any
pool_mode = transaction
server_round_robin = 1
default_pool_size = 3
max_prepared_statements = 0
"""


@contextmanager
def pooler(server: URL) -> Generator[URL]:
    """A pooler that gives each transaction another one of three connections, and keeps no prepared statements.

    Args:
        server: A database of the server's.
    """
    assert PROGRAM is not None
    directory = Path(tempfile.mkdtemp(prefix="rxpipe-pgb-"))
    settings = _SETTINGS.format(host=server.host, port=server.port, user=server.username, directory=directory)
    if os.geteuid() == 0:  # it does not run as root
        directory.chmod(0o777)
        settings += "user = nobody\n"
    (directory / "settings").write_text(settings)
    process = subprocess.Popen([PROGRAM, "-q", str(directory / "settings")], stdin=subprocess.DEVNULL)
    try:
        until(lambda: (directory / ".s.PGSQL.6543").exists())
        yield URL.create(
            server.drivername,
            username=server.username,
            database=server.database,
            query={"host": str(directory), "port": "6543"},
        )
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        shutil.rmtree(directory)
