"""The stage's own machine.

- ``stage_machine.py``: which items wait, which calls run, when they are out of time, and what becomes of their results
- ``call.py``: one call, and those that are stuck; ``order.py``: results in the order of their items
- ``options.py``: options of calls; ``settings.py``: the same, checked, and live counts
- ``retry_policy.py``: whether and when to try again; ``pending_retries.py``: attempts that wait until then
- ``limiter.py``: how often calls may begin; ``adaptive.py``: how many may run at once, as the server lets them
"""
