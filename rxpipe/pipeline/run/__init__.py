"""One run of a pipeline.

- ``run.py``: ``Run``, which follows every item to its end; ``run_future.py``: the future that it resolves then
- ``item.py``: an ID on its way; ``intake.py``, ``exit.py``: where IDs come in, and where items leave
- ``strategies.py``: the stages, composed; ``envelope.py``: how they handle items
- ``budget.py``: what a run may cost; ``error_counts.py``: why most items failed
"""
