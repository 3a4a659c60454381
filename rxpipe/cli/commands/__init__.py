"""What the commands do.

- ``run.py``, ``check.py``, ``compare.py``, ``compare_runs.py``, ``preview.py``, ``init.py``: on a config,
  which ``overrides.py`` changes;
  ``results_place.py``: where its results go; ``preview_children.py``: the first children of an item;
  ``beside.py``: what a run has beside it
- ``staying.py``: ``run --stay``; ``submit.py``: items for those who stay
- ``simulate.py``, ``sweep.py``: what a run of a config is going to take; ``advise.py``: which settings to take;
  ``simulated.py``: which run, and what its calls are drawn from; ``server_option.py``: what the server takes
- ``imports_only.py``: for commands that import stages, and leave nothing behind; ``html_option.py``: for those that
  write a page; ``server_option.py``: for those that draw on a server's record
- ``history.py`` (``runs``, ``show``, ``workers``), ``show_item.py`` (``show --id``), ``failures.py``,
  ``maintenance.py`` (``requeue``, ``export``, ``prune``), ``migrate.py``, ``forget.py``, ``cache.py``, ``view.py`` (the
  page): on runs and results that are kept, in the database that ``store_location.py`` finds
"""
