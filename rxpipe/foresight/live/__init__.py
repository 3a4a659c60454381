"""What is left of a run that is under way.

- ``foretelling.py``: the outlook of a run, beside it, as often as ``allowance.py`` says
- ``remaining.py``: what is left, estimated by simulations of the rest (``rest.py``) from where the run stands
  (``present.py``)
- ``live_calls.py``, ``live_seconds.py``: what calls are drawn from, those that the run has made so far
"""
