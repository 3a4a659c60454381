"""Answers the page's questions about runs, in a fraction of a second however many items there are.

- ``reader.py``: answers, as ``rxpipe.insight.reading.RunsReader``; ``actor.py``: acts, as ``RunsActor``
- ``lists.py``: runs, workers and errors, from sums that commits keep
- ``item_order.py``: in which order items are listed, and where a page goes on; ``item_filters.py``: which are
- ``item_pages.py``: pages of items; ``item_details.py``: one of them; ``item_calls.py``: its calls
- ``snapshot_history.py``: sums of the workers' snapshots; ``call_times.py``: calls as a timeline draws them,
  ``call_heights.py``: how many of them ran
"""
