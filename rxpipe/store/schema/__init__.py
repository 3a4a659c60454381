"""The tables, and how they are read and written.

- ``tables.py``: the tables; ``migrations.py``: how a store is made, and an older one brought up to date
- ``database.py``: transactions; ``file_lock.py``: one process for an SQLite file
- ``keys.py``: IDs as the database holds them
"""
