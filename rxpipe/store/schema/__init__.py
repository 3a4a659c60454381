"""The tables, and how they are read and written.

- ``tables.py``: the tables; ``migrations.py``: makes a store, and brings an older one up to date
- ``database.py``: transactions; ``file_lock.py``: one process for an SQLite file
- ``keys.py``: IDs as the database holds them
"""
