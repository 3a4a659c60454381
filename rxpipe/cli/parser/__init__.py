"""The commands with their arguments and options. Each is imported only when it is called, so that ``--help`` is fast.

- ``configs.py``: ``run``, ``check``, ``compare`` and others on a config; and the program with all commands
- ``forecasts.py``: ``simulate`` and others that forecast a run
- ``stores.py``: commands on kept runs; ``deletions.py``: commands that delete; ``store_options.py``: options of both
- ``tables.py``: the command for the owner of the tables
- ``models.py``: commands on language models
- ``help.py``: how ``--help`` shows the commands
- ``values.py``: values of options of several commands
"""
