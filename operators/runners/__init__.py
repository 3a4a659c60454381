"""The places where calls run.

- ``runner.py``: the interface
- ``thread_runner.py``, ``loop_runner.py``: worker threads, event loops
- ``counted_runner.py``: any of them, beside virtual time
- ``pools.py``: executors and reactivex schedulers that the user owns and closes
"""
