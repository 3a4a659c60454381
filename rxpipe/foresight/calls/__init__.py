"""The calls of a run, and what a simulation draws from them.

- ``record.py``: the calls of a run; ``from_store.py`` reads them; ``recorder.py`` listens to them
- ``recorded_draws.py``: what is drawn from, made of recorded calls; ``further_attempts.py``: how likely these fail
- ``load.py``: how the server slows down under load; ``refusals.py``: which calls it refuses; found from recorded calls
- ``draws.py``: what becomes of the calls of a stage; ``chance.py``: random numbers that do not depend on their order
- ``distributions.py``: named distributions of seconds; ``few_calls.py``: what a few calls leave open
"""
