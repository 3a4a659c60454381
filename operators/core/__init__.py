"""The base of all operators with a queue.

- ``machine.py``: the state machine of each operator with a queue: a mailbox, a gate, an observer downstream
- ``gate.py``: backpressure: how many items an operator holds, and which senders wait for room
- ``mailbox.py``: messages to an operator, handled one at a time; ``dispatchers.py``: the thread or loop that does so
- ``clock.py``: time; ``virtual_time.py``: time that jumps from event to event
- ``real_calls.py``: calls beside virtual time, which waits for them
- ``threads.py``: the worker threads; ``loops.py``: the background event loop
- ``worker.py``: the context of the calls on a thread; ``running_call.py``: the running call, as its function sees it
- ``loop_guard.py``: refuses ``run()`` on a running event loop, which it would block for ever
"""
