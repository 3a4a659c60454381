"""What the commands do.

- ``run.py``, ``check.py``, ``compare.py``, ``preview.py``, ``init.py``: on a config, which ``overrides.py`` changes
- ``history.py`` (``runs``, ``show``, ``workers``), ``failures.py``, ``maintenance.py`` (``requeue``, ``export``,
  ``prune``): on runs that are kept, in the database that ``store_location.py`` finds
"""
