"""The state machine of ``stage``.

- ``call_machine.py``: queues items, starts calls, and ends calls that are out of time
- ``stage_machine.py``: handles the ends of calls, and their results
- ``expand_machine.py``: the same, for calls that give many values
- ``batch_machine.py``, ``batch_call.py``: the same, for calls with many items each
- ``key_order.py``: one call per key at a time
- ``call.py``: one call, and the calls that are stuck; ``order.py``: results in the order of their items
- ``options.py``: options of calls; ``settings.py``: the checked options, and live counts
- ``retry_policy.py``: when to call again; ``pending_retries.py``: attempts that wait for their time
- ``times.py``: how slots spend their time; ``durations.py``: how long calls took
- ``limiter.py``: how often calls may begin; ``adaptive.py``: how many calls may run at once, as the server takes them
"""
