"""Where calls run.

- ``runner.py``: the port
- ``thread_runner.py``, ``loop_runner.py``: worker threads, event loops
- ``pools.py``: executors and reactivex schedulers that stay their owner's
"""
