"""The code behind the commands.

- ``run.py``, ``check.py``, ``compare.py``, ``compare_runs.py``, ``preview.py``, ``init.py``: commands on a config,
  which ``overrides.py`` changes; ``results_place.py``: where the config's results go; ``preview_children.py``: the
  first children of an item; ``beside.py``: metrics, probes and logs beside a run
- ``staying.py``: ``run --stay``; ``submit.py``: items for workers that stay
- ``simulate.py``, ``sweep.py``: forecasts of a config's run; ``advise.py``: recommended settings; ``simulated.py``: the
  simulated run, and the source of its calls; ``server_option.py``: the limits of the server
- ``imports_only.py``: for commands that import stages and leave nothing behind; ``html_option.py``: for commands that
  write a page
- ``history.py`` (``runs``, ``show``, ``workers``), ``show_item.py`` (``show --id``), ``failures.py``,
  ``maintenance.py`` (``requeue``, ``export``, ``prune``), ``migrate.py``, ``forget.py``, ``cache.py``, ``view.py`` (the
  page): commands on kept runs and results, in the database that ``store_location.py`` finds
"""
