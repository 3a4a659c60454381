"""The items that come into the stages, and which worker has them.

- ``feed.py``: what a worker takes: items that wait, then new ones of the source; ``inbox.py``: IDs of the source
- ``claims.py``: taking items over in the database; ``in_flight.py``: those that a worker has
- ``lease.py``: which workers live, and what becomes of the items of those that do not; ``process.py``: of this machine
- ``ended_items.py``: IDs that have ended before
"""
