"""The output of commands about runs, past and future.

- ``summary.py``, ``failures.py``, ``item.py``: the result of a run, the limit of failures, and one item;
  ``next_steps.py``: what to try after a rehearsal
- ``forecast.py``: the forecast of a run; ``sweep.py``, ``sweep_page.py``: how the forecast changes with settings;
  ``recommendation.py``: recommended settings
- ``flow_shape.py``: what the stages of a config do with items
- ``runs_compared.py``, ``runs_page.py``: runs side by side, in the terminal and as a page; ``past_run.py``,
  ``runs_headline.py``: the facts about a run, and what changed between two
"""
