"""Pipelines.

What users build and get:

- ``pipeline.py``: ``Pipeline``; ``stage.py``: ``Stage``; ``source.py``: sources of IDs; ``record.py``: IDs with data;
  ``rereading.py``: a source that is read again and again
- ``decisions.py``: decisions of a stage's function; ``children.py``: the argument of a collecting stage
- ``outcome.py``: how items and runs end
- ``open/``: pipelines that stay open for IDs that are submitted one by one

What others implement:

- ``ports.py``: sinks, run stores, executors; ``commit_counts.py``: counts of the commits of sinks and stores
- ``claim.py``: items that a run store gives to a run, and the ``Journal`` that keeps their progress
- ``listener.py``: callbacks for events of items and calls; ``views.py``: read-only views of items and runs
- ``wrap_call.py``: settings of listeners around the functions of stages
- ``transcript.py``: requests to language models and their answers, for a store and for inspection

How it runs:

- ``plan.py``: the plan of a run; ``prepare.py``, ``open_executors.py``: open its resources; ``start.py``: starts it
- ``run/``: one run
- ``blocking.py``: runs to the end from ordinary code, with Ctrl-C in steps; ``show_progress.py``: the same, with a live
  screen
"""
