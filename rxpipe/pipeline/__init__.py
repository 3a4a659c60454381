"""Pipelines.

What users build and get:

- ``pipeline.py``: ``Pipeline``, of ``stage.py``; ``source.py``: where IDs come from; ``record.py``: IDs with data;
  ``rereading.py``: a source that is read again and again
- ``decisions.py``: what a stage's function may decide; ``children.py``: what a collecting stage gets
- ``outcome.py``: how items and runs end
- ``open/``: pipelines that stay open for IDs that are submitted one by one

What others implement:

- ``ports.py``: sinks, run stores, executors; ``commit_counts.py``: what sinks and stores commit
- ``claim.py``: items that a run store gives a run, and the ``Journal`` that is told what becomes of them
- ``listener.py``: callbacks about items and calls; ``views.py``: what they may read of items and runs
- ``wrap_call.py``: what a listener sets up around the functions of stages
- ``transcript.py``: what calls have said to language models, for a store and for whoever wants to look at it

How it runs:

- ``plan.py``: what is run; ``prepare.py``, ``open_executors.py``: what it needs is opened; ``start.py``: a run of it
- ``run/``: one run
- ``blocking.py``: running to the end from ordinary code, with Ctrl-C in steps; ``show_progress.py``: the same, with
  a live screen
"""
