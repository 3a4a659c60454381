"""Changes of what keeps children, parents that wait for them, the way back and ``until``; see ``mutations.py``."""

from __future__ import annotations

from .change import Change, Mutation

CHILDREN = "flows/test_children.py"
COLLECTING = "flows/test_collecting.py"
RECORDS = "flows/test_records.py"
TWO = "flows/test_two_workers.py"
WAY_BACK = "flows/test_way_back.py"

_ADDED = "add_children(connection, self._of_run, children, now)"
_RETIRED = "retire_children(connection, self._of_run, behind_the_way_back(moves, rows))"
_WAITING = 'move.spawned is not None and move.state == "waiting"'
_COMMITS = (
    Change(
        "children in the transaction of their parent",
        _ADDED,
        "with self._database.engine.begin() as other: add_children(other, self._of_run, children, now)",
        TWO,
        "kept_together and postgres",
    ),
    Change("parents locked whatever they do", " | self._parents(moves)", "", TWO, "begins_to_wait"),
    Change(
        "parents woken", "wake_parents(connection, self._of_run, sorted(parents))", "pass", TWO, "another_worker_has"
    ),
    Change("parents woken that begin to wait", _WAITING, "move.refused == 1", TWO, "begins_to_wait"),
    Change("earlier children retired", _RETIRED, "behind_the_way_back(moves, rows)", WAY_BACK, "another_run"),
    Change("checkpoints erased", "self._erase(connection, held)", "pass", WAY_BACK, "rounds"),
    Change("what is too much given back", "move.is_surplus = True", "pass", TWO, "at_once"),
)
_NOTED = "self.was_expanded, self.collector, self.knows_collector = "
_FAMILY = f"if record.is_all:\n                {_NOTED}True, record.collected_by, True"
_LATEST_FAMILY = f"{_NOTED}record.is_all, record.collected_by, record.is_all"
_MOVES = (
    Change("children of a round in one batch retired", "child.claim.number = -1 - ", "_ = -1 - ", TWO, "round"),
    Change("children retired once", " and child.claim.number >= 0:", ":", TWO, "round"),
    Change("rounds compared", "and row.rounds >= self.sent_back.rounds:", "and row.rounds < 0:", TWO, "round"),
    Change("parents that wait for others", '"waiting" if last.hands_over else', '"running" if last else', TWO, "has"),
    Change("taken IDs left alone", "if claim.conflict is not None:  #", "if not claim.key:  #", TWO, "taken"),
    Change(
        "a place on the way to the collector",
        "else self.sent_back.kept",
        "else self.sent_back.to",
        TWO,
        "its_collector",
    ),
    Change("an end by what cannot be kept", "return self.unkept is not None or ", "return ", TWO, "cannot"),
    Change("rows of parents", "self.made = record.made_row", "self.made = None", CHILDREN, "row_of_a_parent"),
    Change("stages before children", "self.checkpoints[-1].stage > last.stage", "True", TWO, "earlier_stage"),
    Change(
        "two families in a batch told apart",
        _FAMILY,
        _LATEST_FAMILY,
        TWO,
        "second_family",
    ),
)
_CHILDREN = (
    Change("children of one ID told apart", "child) is not child:", "child) is None:", CHILDREN, "taken"),
    Change("IDs compared", "!= (parent.item_key, child.claim.number):", '== ("", 0):', CHILDREN, "taken"),
    Change("children waited for", "IS_WAITING, not_(has_pending_children()))", "IS_WAITING)", TWO, "another_worker"),
)
_OTHERS = (
    ("commits/shared_quota", Change("a lock of the quota", ".with_for_update()", "", TWO, "at_once")),
    (
        "items/lease",
        Change("parents that wait", 'case((_WAITS, "waiting")', 'case((_WAITS, "ready")', TWO, "lost_waits"),
    ),
    (
        "items/lease",
        Change(
            "parents woken when a worker is lost",
            "wake_all_parents(connection, {RUN: run_id})",
            "pass",
            COLLECTING,
            "dies_while",
        ),
    ),
    (
        "items/inputs",
        Change("families without children", "called.add(order.makers[stage])", "pass", COLLECTING, "nothing"),
    ),
    (
        "items/inputs",
        Change(
            "what failed children were called with",
            "ended[key][1].called_with[key] = inputs.next",
            "pass",
            COLLECTING,
            "own_children",
        ),
    ),
    (
        "items/inputs",
        Change("families numbered on", "row.children if half is None else half.first", "0", CHILDREN, "two"),
    ),
    (
        "items/other_stages",
        Change(
            "parents that wait again",
            "connection.execute(parents.values(state=state, collected_by=collector, **times))",
            "pass",
            COLLECTING,
            "changed_stages",
        ),
    ),
    (
        "items/other_stages",
        Change(
            "children made anew",
            "connection.execute(delete(ITEMS).where(made_anew))",
            "pass",
            COLLECTING,
            "changed_stages",
        ),
    ),
    ("items/claims", Change("the first of two kept", "if claim.key not in new:", "if claim:", RECORDS, "at_once")),
    (
        "items/changed_records",
        Change(
            "children of changed records gone",
            "connection.execute(delete(ITEMS).where(below))",
            "pass",
            RECORDS,
            "changed",
        ),
    ),
)


def flow_mutations() -> list[Mutation]:
    """All of them."""
    by_file = {"commits/commits": _COMMITS, "commits/state_changes": _MOVES, "commits/children": _CHILDREN}
    pairs = [(name, change) for name, changes in by_file.items() for change in changes]
    return [Mutation(f"rxpipe/store/{name}.py", change) for name, change in [*pairs, *_OTHERS]]
