"""The commands with their arguments and options; each is imported when it is called, so that ``--help`` comes at once.

- ``configs.py``: ``run``, ``check``, ``compare`` and others on a config; and the program, of all commands
- ``forecasts.py``: ``simulate`` and others on what a run is going to take
- ``stores.py``: on runs that are kept; ``deletions.py``: those that delete; ``store_options.py``: what both take
- ``tables.py``: for the owner of their tables
- ``models.py``: on language models
- ``help.py``: how ``--help`` shows them
- ``values.py``: what options of several commands take
"""
