"""Answers the page's questions about runs, in a fraction of a second however many items there are.

- ``reader.py``: answers, as ``rxpipe.insight.reading.RunsReader``; ``actor.py``: acts, as ``RunsActor``
- ``lists.py``: runs, workers and errors, from sums that commits keep
- ``item_order.py``: the order of items in lists, and where the next page begins
- ``item_filters.py``: which items a list has; ``item_pages.py``: pages of items
- ``item_details.py``: one item; ``item_calls.py``: its calls
- ``snapshot_history.py``: sums of the workers' snapshots
- ``call_times.py``: calls as a timeline draws them; ``call_heights.py``: how many of them ran
"""
