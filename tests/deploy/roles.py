"""A PostgreSQL database of an owner, who makes and migrates the tables, and of a worker with a few rights."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from servers import execute, own_database
from sqlalchemy import URL

TO = "bank_worker"
"""The worker's role in the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """A database, and who may do what there.

    Attributes:
        admin: The database, as a superuser.
        owner: The database, as its owner.
        worker: The database, as the role that has only what is granted.
    """

    admin: URL
    owner: URL
    worker: URL

    def execute(self, *statements: str) -> None:
        """Execute statements of the page, as a superuser; the names in them are made those of this database."""
        for statement in statements:
            text = statement.replace("bank_owner", str(self.owner.username)).replace(TO, str(self.worker.username))
            execute(self.admin, text.replace("DATABASE bank", f"DATABASE {self.admin.database}"))


@contextmanager
def bank(server: str) -> Generator[Bank]:
    """A new database; it and its roles are dropped in the end."""
    with own_database(server) as admin:
        tail, password = secrets.token_hex(6), secrets.token_hex(12)
        owner, worker = (admin.set(username=f"{name}_{tail}", password=password) for name in ("owner", TO))
        made = Bank(admin=admin, owner=owner, worker=worker)
        for url in (owner, worker):
            execute(admin, f"CREATE ROLE {url.username} LOGIN PASSWORD '{password}'")
        try:
            yield made
        finally:
            for url in (owner, worker):
                execute(admin, f"DROP OWNED BY {url.username} CASCADE", f"DROP ROLE {url.username}")
