"""The items that come into the stages, and the workers that have them.

A worker, here and in all of ``store/``, is a process that works on a run.

- ``feed.py``: gives a worker the items that wait, then new items of the source; ``source_ids.py`` buffers the source's
  IDs
- ``claims.py``: claims items in the database, apart from those in quarantine, with which workers have died;
  ``claim_statements.py`` has the SQL
- ``in_flight.py``: the items that a worker has
- ``lease.py``: heartbeats, which renew a worker's lease; frees the items of workers whose lease ran out
- ``snapshot_log.py``: the numbers of a run, kept with the heartbeats
- ``process_identity.py``: finds out if a worker's process on this machine has ended
- ``ended_items.py``: IDs that have ended before; ``changed_records.py``: records that come again with another value
- ``kept_values.py``: reads back stage results, values of sources, and the ends of children; ``inputs.py``: the input of
  each stage for an item
- ``other_stages.py``: moves items when their run goes on with other stages
"""
