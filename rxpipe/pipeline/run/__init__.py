"""One run of a pipeline.

- ``run.py``: ``Run``, which follows every item to its end; ``run_future.py``: the future of its report
- ``counts.py``: live counts; ``report.py``: the report; ``snapshots.py``: the numbers at one moment
- ``item.py``: an item on its way; ``in_flight.py``: all items on their way; ``intake.py``: takes IDs from the source;
  ``exit.py``: passes items to the sink
- ``flow.py``: other ways of items: children, parents, items that are sent back
- ``strategies.py``: composes the stages; ``stage_role.py``: the role of each stage; ``envelope.py``: how a stage
  handles items; ``spawner.py``: makes children
- ``cache_lookup.py``: looks for results of earlier calls, before a stage
- ``budget.py``: the limit of the cost; ``quota.py``: the number of rows to write; ``error_counts.py``: the most common
  errors
"""
