"""What everything with a queue stands on.

- ``machine.py``: the shape that operators share: a mailbox, a gate upstream, an observer downstream
- ``mailbox.py``: messages, handled one at a time; ``dispatchers.py``: where; ``gate.py``: backpressure
- ``clock.py``: time; ``threads.py``: the worker threads; ``loops.py``: the background loop
- ``worker.py``: a call's context on its thread; ``running_call.py``: what a function may ask of its call
- ``blocking.py``: no ``run()`` on a running loop
"""
