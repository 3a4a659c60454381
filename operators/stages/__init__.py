"""The stage's own machine.

- ``call_machine.py``: which items wait, which calls run, and when they are out of time
- ``stage_machine.py``: what becomes of calls and of their results
- ``expand_machine.py``: the same, where a call gives many values
- ``batch_machine.py``, ``batch_call.py``: the same, for calls with many items each
- ``key_order.py``: one call per key at a time
- ``call.py``: one call, and those that are stuck; ``order.py``: results in the order of their items
- ``options.py``: options of calls; ``settings.py``: the same, checked, and live counts
- ``retry_policy.py``: whether and when to try again; ``pending_retries.py``: attempts that wait until then
- ``times.py``: where the slots' time goes; ``durations.py``: how long calls took
- ``limiter.py``: how often calls may begin; ``adaptive.py``: how many may run at once, as the server lets them
"""
