"""The meaning of a run's numbers: what holds the run up, what a change would gain, what stands still.

- ``snapshot.py``: the numbers of one moment; all other files use them
- ``insight.py``: ``insight_of`` returns all findings from the snapshots of a run
- ``window.py``: the numbers between two snapshots; which snapshots to keep and to compare
- ``capacity.py``: the capacity of each stage, limit, sink and source; ``spread.py``: how exactly it is known
- ``throughput.py``: the rate of all resources together, also with one of them changed
- ``bottleneck.py``: what holds the run up; ``advice.py``: what to change, and what the change gains
- ``finding.py``: the finding that a finished run keeps
- ``refusals.py``: advice for servers that refuse many calls
- ``stalls.py``: what stands still; ``failing.py``: stages in which all items fail;
  ``checks.py``: checks of the numbers against each other
- ``outlook.py``: the estimate of what is left of a run; ``interval.py``: an estimated number with its range
- ``reading.py``: the questions that a page asks about the runs of a database
- ``item_times.py``: offsets and pauses of the calls of an item, and where its work began anew
"""
