"""Estimates what is left of a live run.

- ``foretelling.py``: keeps a run's outlook up to date; ``allowance.py`` says how often
- ``remaining.py``: estimates what is left, by simulations of the rest (``rest.py``) from where the run stands
  (``present.py``)
- ``live_calls.py``, ``live_seconds.py``: draws from the calls that the run has made so far
"""
