"""The items that come into the stages, and which worker has them.

A worker, here and in all of ``store/``, is a process that works on a run.

- ``feed.py``: what a worker takes: items that wait, then new ones of the source; ``source_ids.py`` has some ready
- ``claims.py``: taking items over in the database, those in quarantine apart, with which workers have died;
  ``claim_statements.py`` has the SQL
- ``in_flight.py``: the items that a worker has
- ``lease.py``: heartbeats, which renew a worker's lease, and what becomes of the items of those whose lease ran out
- ``snapshot_log.py``: the numbers of a run, kept with the heartbeats
- ``process_identity.py``: whether a worker's process of this machine has ended
- ``ended_items.py``: IDs that have ended before; ``changed_records.py``: records that come again with another value
- ``kept_values.py``: what stages returned, what sources gave, and how children ended, read back; ``inputs.py``: what an
  item came with into each stage
- ``other_stages.py``: where items are when their run goes on with other stages
"""
