"""The stage's own machine.

- ``stage_machine.py``: which items wait, which calls run, and what becomes of them
- ``call.py``: one call; ``order.py``: items' order; ``retries.py``: attempts that are to follow
- ``options.py``: what users may say of calls; ``settings.py``: the same, checked, and live counts
- ``retry_policy.py``: whether and when to try again
- ``limiter.py``, ``adaptive.py``: how many calls there may be
"""
