"""The command line (needs the extra ``cli``).

- ``app.py``: where the program starts
- ``parser/``: the commands with their options; ``commands/``: what they do; ``views/``: what is drawn
- ``messages.py``: errors, exit codes, logs
- ``templates/``: what ``rxpipe init`` writes
"""
