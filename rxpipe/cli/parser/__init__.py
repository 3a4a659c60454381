"""The commands with their arguments and options; each is imported when it is called, so that ``--help`` comes at once.

- ``configs.py``: ``run``, ``check``, ``compare`` and others on a config; and the program, of all commands
- ``stores.py``: on runs that are kept
- ``models.py``: on language models
"""
