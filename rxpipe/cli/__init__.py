"""The command line (needs the extra ``cli``).

- ``app``: where the program starts
- ``commands``: the commands and their options; each imports what it needs when it is called
- ``run``: ``rxpipe run``; shown by ``live`` on a terminal, what functions print ``above`` it, and by ``lines``
  elsewhere, from the figures in ``meter``, and summed up by ``summary`` and ``failures``
- ``check``, ``compare``, ``init``: the other commands on configs
- ``store_commands``: the commands on kept runs, done by ``history``, ``dead_letters`` and ``mending`` in the database
  that ``place`` finds
- ``overrides``: options that change a config
- ``messages``: errors and exit codes, logs
- ``tables``, ``texts``: tables that fit the screen, numbers and durations as text
"""
