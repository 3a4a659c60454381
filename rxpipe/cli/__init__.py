"""The command line (needs the extra ``cli``).

- ``app.py``: the start of the program
- ``parser/``: the commands with their options; ``commands/``: the code behind the commands; ``views/``: their output
- ``messages.py``: errors, exit codes, logs
- ``templates/``: the files that ``rxpipe init`` writes
"""
