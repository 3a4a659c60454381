"""What a run's numbers say.

- ``snapshot.py``: the numbers of one moment
- ``reading.py``: what a page asks of the runs of a database
"""
