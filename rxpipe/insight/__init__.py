"""What a run's numbers say: what holds it up, what a change would gain, what stands still.

- ``snapshot.py``: the numbers of one moment; everything else is made of them
- ``window.py``: what happened between two snapshots
- ``capacity.py``: how much each stage, limit, sink and source could do; ``bottleneck.py``: which is the least of these
- ``advice.py``: what to change, and what that gains; ``stalls.py``: what stands still
- ``reading.py``: what a page asks of the runs of a database
"""
