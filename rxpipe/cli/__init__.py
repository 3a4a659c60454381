"""The command line (needs the extra ``cli``).

- ``app``: where the program starts
- ``commands``: the commands and their options; each imports what it needs when it is called
- ``running``: ``rxpipe run``; shown by ``live`` on a terminal, what functions print ``above`` it, and by ``lines``
  elsewhere, from the figures in ``meter``, and summed up by ``summary`` and ``failures``
- ``checking``, ``comparing``, ``starting``: ``rxpipe check``, ``compare`` and ``init``
- ``overrides``: options that change a config
- ``telling``: errors and exit codes, logs
- ``tables``, ``texts``: tables that fit the screen, numbers and durations as text
"""
