"""One run of a pipeline.

- ``run.py``: ``Run``, which follows every item to its end; ``run_future.py``: the future that it resolves then
- ``counts.py``: what it counts; ``report.py``: what it has done; ``snapshots.py``: its numbers at one moment
- ``item.py``: an ID on its way; ``in_flight.py``: all that are; ``intake.py``, ``exit.py``: where IDs come in, and
  where items leave
- ``flow.py``: where items go that do not simply go on: children, parents, what is sent back
- ``strategies.py``: the stages, composed; ``stage_role.py``: what each of them is; ``envelope.py``: how it handles
  items; ``spawner.py``: how it makes children
- ``cache_lookup.py``: looks for results of earlier calls, before a stage
- ``budget.py``: what a run may cost; ``quota.py``: how many items it writes; ``error_counts.py``: why most items failed
"""
