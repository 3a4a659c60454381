"""The calls of a run, and how a simulation draws from them.

- ``record.py``: recorded calls; ``from_store.py`` reads them from a store; ``recorder.py`` records a live run
- ``recorded_draws.py``: makes draws from recorded calls; ``further_attempts.py``: how likely further attempts fail
- ``load.py``: finds how the server slows down under load; ``refusals.py``: finds which calls the server refuses
- ``draws.py``: the outcomes of a stage's calls; ``chance.py``: random numbers that do not depend on their order
- ``distributions.py``: named distributions of seconds; ``few_calls.py``: likely calls where only few are known
"""
