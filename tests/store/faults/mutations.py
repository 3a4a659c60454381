"""What the store's source is changed into, one change at a time, and the tests that are to notice.

A fence rises when an item is taken away, and once more when it is claimed. Either would do to tell two claims apart;
so these are noticed by tests of the fence itself, not of what becomes of an item.
"""

from __future__ import annotations

from collections.abc import Iterator

from .change import Change, Mutation
from .flow_mutations import flow_mutations

COMMITS = "test_commits.py"
USAGE = "test_commits_usage.py"
CACHE = "test_commits_cache.py"
LEASE = "test_lease.py"
IN_FLIGHT = "test_in_flight.py"
STORE = "test_store.py"
TAKEOVERS = "faults/test_takeovers.py"
AWAY = "test_away.py"
BACKLOG = "test_backlog.py"
FILE = "test_file.py"
PEERS = "test_peers.py"
FEEDING = "faults/test_feeding.py"

_OWN = "(row.owner, row.fence) != (claim.owner, claim.fence)"
_WHERE = '(row.stage, row.state) == (self.start, "running")'
_WRITE = "refused = self._rows.write_in(connection, "
_ADD = "add_checkpoints(connection, self._of_run, checkpoints)"
_USE = "spent = add_usage(connection, self._of_run, "
_RESULTS = "add_results(connection, ["
_ONCE = "added.on_conflict_do_nothing()"
_MOVES = (
    Change("fences compared", _OWN, "row.owner != claim.owner", COMMITS),
    Change("owners compared", _OWN, "row.fence != claim.fence", COMMITS),
    Change("what is known to be lost left alone", "claim.lost or ", "", COMMITS),
    Change("stages compared", _WHERE, 'row.state == "running"', COMMITS),
    Change("states compared", _WHERE, "row.stage == self.start", TAKEOVERS, "once"),
    Change("stages compared where the answer was lost", "row.stage == self.stage and ", "", TAKEOVERS, "another_end"),
    Change("the others told what was lost", 'if standing == "lost":', "if not standing:", COMMITS),
)
_COMMITS = (
    Change(
        "rows in the transaction of their items",
        _WRITE,
        f"with self._database.engine.begin() as connection: {_WRITE}",
        COMMITS,
        "together and postgres",
    ),
    Change(
        "checkpoints in the transaction of their items",
        _ADD,
        f"with self._database.engine.begin() as other: {_ADD.replace('connection', 'other')}",
        TAKEOVERS,
        "commit_fails and postgres",
    ),
    Change(
        "what was used in the transaction of what follows",
        _USE,
        f"with self._database.engine.begin() as other: {_USE.replace('connection', 'other')}",
        USAGE,
        "with_what_follows and postgres",
    ),
    Change(
        "results in the transaction of their checkpoints",
        _RESULTS,
        f"with self._database.engine.begin() as connection: {_RESULTS}",
        CACHE,
        "together and postgres",
    ),
    Change("what was used kept by itself", "for used in move.used]", "for used in move.used if move.changes]", USAGE),
)

_COMMIT_STATEMENTS = (
    Change("items locked before they are compared", ".with_for_update(of=ITEMS)", "", TAKEOVERS, "committed"),
)

_USED = (
    Change("what was used counted once", _ONCE, "added", USAGE, "counted_once"),
    Change("nothing kept of what was pruned", ".where(there)", ".where(literal(True))", USAGE, "pruned"),
)

_TAKEN = "            fence=ITEMS.c.fence + 1,\n"
_CLAIM_STATEMENTS = (
    Change("a higher fence for a claim", _TAKEN, "", TAKEOVERS, "fence"),
    Change("items locked while they are claimed", ".with_for_update(skip_locked=True)", "", TAKEOVERS, "at_once"),
    Change("known IDs left alone", "insert.on_conflict_do_nothing()", "insert", STORE, "new_ids"),
)
_CLAIMS = (
    Change("suspects alone at last", "1 if crashes >= self._alone else ", "", LEASE, "suspects"),
    Change("waiting before a suspect", "if not idle:", "if not window:", FEEDING, "suspect"),
    Change("an end of trying", "if row.crashes > self._most_crashes:", "if row.crashes < 0:", LEASE, "alone"),
)

_HIGHER = '    "fence": ITEMS.c.fence + 1,\n'
_YOUNG = "if look.here - self._unbroken_since < self._seconds:"
_EXPIRED = "func.abs(look.there - WORKERS.c.heartbeat_at)"
_FOUND_OUT = "self._lost(self.owner)\n        self.register(connection)"
_MARKED = "mine.values(heartbeat_at=db_now())).rowcount:"
_LEASE = (
    Change("a higher fence for what is taken away", _HIGHER, "", LEASE, "silent"),
    Change("a higher fence for what is released", _HIGHER, "", LEASE, "leaves"),
    Change("a higher fence for what is recovered", _HIGHER, "", LEASE, "lost"),
    Change("a mark for the crash", "**GIVEN_BACK, crashes=ITEMS.c.crashes + 1", "**GIVEN_BACK", LEASE, "silent"),
    Change("the time since when items wait", '    "ready_at": db_now(),\n', "", BACKLOG, "come_to_wait"),
    Change("a lease's time before one judges", _YOUNG, "if look.here < self._unbroken_since:", LEASE, "newcomer"),
    Change(
        "judging by the clock that was seen",
        _EXPIRED,
        "func.abs(db_now() - WORKERS.c.heartbeat_at)",
        TAKEOVERS,
        "clock",
    ),
    Change("marks in the future distrusted", _EXPIRED, "(look.there - WORKERS.c.heartbeat_at)", LEASE, "future"),
    Change(
        "ended processes noticed",
        "if gone := certainly_dead(",
        "if gone := (lambda *_: [])(",
        TAKEOVERS,
        "ended_process",
    ),
    Change("breaks noticed", " or not self._is_unbroken(self._last, look):", ":", LEASE, "late"),
    Change(
        "jumps of the clock noticed", "here <= most and abs(there - here) <= most", "here <= most", TAKEOVERS, "jump"
    ),
    Change(
        "the dead kept from claiming", ".first() is not None:", ".first() is not None or self.owner:", LEASE, "find_out"
    ),
    Change(
        "workers locked while they claim",
        "mine.with_for_update(read=True, key_share=True)",
        "mine",
        TAKEOVERS,
        "claiming",
    ),
    Change("the released kept from claiming", "if self.over.is_set():", "if not self.owner:", LEASE, "leaves"),
    Change("what is lost told when claiming", _FOUND_OUT, "self.register(connection)", TAKEOVERS, "comes_back"),
    Change("what is lost told when marking", _MARKED, f"{_MARKED[:-1]} >= 0:", TAKEOVERS, "heartbeat"),
)

_APART = "if claimed is None or (claimed and claimed[0].quarantined):"
_BEHIND = "self._wait_until_idle(inbox)"
_FEED = (
    Change("what is stray given back", "again=self._recover", "again=lambda connection: None", FEEDING, "lost"),
    Change("suspects apart", _APART, "if claimed is None:", FEEDING, "suspect"),
    Change("waiting behind a suspect", _BEHIND, "self._told", FEEDING, "suspect"),
)

_DATABASE = (
    Change(
        "a limit of idle transactions",
        "idle_in_transaction_session_timeout",
        "rxpipe.stuck",
        TAKEOVERS,
        "nothing_is_ended",
    ),
    Change("a limit of waiting for locks", "'lock_timeout'", "'rxpipe.wait'", TAKEOVERS, "for_ever"),
    Change("a second try told from a first", "if attempt > 1:", "if attempt < 1:", FEEDING, "lost"),
)

_KEPT = "outcomes = self._commit_without_rows(records, error)"
_GIVEN_BACK = "self.close()  # here"
_TROUBLE = (
    Mutation(
        "rxpipe/store/commits/flusher.py", Change("results kept without rows", _KEPT, "raise", AWAY, "again_while")
    ),
    Mutation("rxpipe/store/session.py", Change("items given back", _GIVEN_BACK, "pass  # here", AWAY, "given_back")),
    Mutation("rxpipe/store/commits/backlog.py", Change("a halt while away", "self._is_away or ", "", BACKLOG, "away")),
    Mutation(
        "rxpipe/store/commits/backlog.py",
        Change("a halt while late", "age < self._late or ", "True or ", BACKLOG, "late"),
    ),
    Mutation(
        "rxpipe/database/transaction_limit.py", Change("a limit of silence", "stream.shutdown(", "print(", PEERS, "cut")
    ),
    Mutation(
        "rxpipe/database/transaction_limit.py",
        Change("a limit of late connections", "over is not None and over.is_set()", "False", PEERS, "late"),
    ),
    Mutation("rxpipe/database/sqlite_file.py", Change("files compared", "found != self._known", "False", FILE, "gone")),
    Mutation(
        "rxpipe/store/schema/file_lock.py",
        Change("a private file", "mode: int = 0o600", "mode: int = 0o644", FILE, "owner"),
    ),
    Mutation(
        "rxpipe/store/items/lease.py",
        Change("an owner in the store", "and is_running(", "and not (", FILE, "another_process"),
    ),
)

_OTHERS = (
    Mutation(
        "rxpipe/pipeline/run/envelope.py",
        Change("the lost skipped", " and item.claim.lost)", " and not item.claim)", IN_FLIGHT),
    ),
    Mutation(
        "rxpipe/store/items/in_flight.py",
        Change("the lost marked", "claim.lost = True", "claim.lost = False", IN_FLIGHT),
    ),
    Mutation(
        "rxpipe/store/items/process_identity.py",
        Change("machines told apart", "there == place and _has_ended", "_has_ended", LEASE, "process"),
    ),
    Mutation("rxpipe/store/session.py", Change("a release", "self._lease.release(connection)", "", STORE, "disposing")),
    Mutation("rxpipe/store/store.py", Change("one process for SQLite", "database.lock(holder)", "", STORE, "second")),
)


def mutations() -> Iterator[Mutation]:
    """All of them."""
    by_file = {
        "commits/commits": _COMMITS,
        "commits/commit_statements": _COMMIT_STATEMENTS,
        "commits/state_changes": _MOVES,
        "items/claims": _CLAIMS,
        "items/claim_statements": _CLAIM_STATEMENTS,
        "items/lease": _LEASE,
        "commits/used_rows": _USED,
        "items/feed": _FEED,
        "schema/database": _DATABASE,
    }
    for name, changes in by_file.items():
        for change in changes:
            yield Mutation(f"rxpipe/store/{name}.py", change)
    yield from _TROUBLE
    yield from _OTHERS
    yield from flow_mutations()
