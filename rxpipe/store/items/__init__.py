"""The items that come into the stages, and which worker has them.

- ``feed.py``: what a worker takes: items that wait, then new ones of the source; ``inbox.py``: IDs of the source
- ``claims.py``: taking items over in the database; ``hands.py``: what a worker has in hand
- ``lease.py``: which workers live, and what becomes of the items of those that do not; ``process.py``: of this machine
- ``known.py``: IDs that have ended before
"""
