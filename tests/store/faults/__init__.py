"""Faults: what kills, stops or cuts off a run with a store, and what must hold when it has gone on.

- ``test_*.py``: one fault or family of faults each
- ``work.py``: the run that is hurt, in a process of its own; ``ledger.py``: who called what, kept outside of it
- ``points.py``, ``cuts.py``: where a process hurts itself
- ``children.py``, ``places.py``: processes and databases of the tests' own
- ``watch.py``: what must hold, the same for all faults
- ``workers.py``: workers without processes, for ``test_takeovers.py`` and ``test_feeding.py``
- ``mutants.py``, ``mutations.py``: whether the tests notice when the store lacks one of its checks
"""
