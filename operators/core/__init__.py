"""What everything with a queue stands on.

- ``machine.py``: the state machine that each operator with a queue is: a mailbox, a gate, an observer downstream
- ``gate.py``: backpressure: how many items an operator holds, and who waits for room
- ``mailbox.py``: messages to an operator, handled one at a time; ``dispatchers.py``: on which thread or loop
- ``clock.py``: time; ``virtual_time.py``: time that jumps from event to event
- ``real_calls.py``: calls beside virtual time, which waits for them
- ``threads.py``: the worker threads; ``loops.py``: the background event loop
- ``worker.py``: a call's context on its thread; ``running_call.py``: what a function may ask of its call
- ``loop_guard.py``: refuses ``run()`` where an event loop is running, which it would block for ever
"""
