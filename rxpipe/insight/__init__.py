"""What a run's numbers say: what holds it up, what a change would gain, what stands still.

- ``snapshot.py``: the numbers of one moment; everything else is made of them
- ``insight.py``: all that follows from the snapshots of a run, by one function, ``insight_of``
- ``window.py``: what happened between two snapshots, and which of them to keep and to look at
- ``capacity.py``: what each stage, limit, sink and source could do; ``spread.py``: how exactly that is known
- ``throughput.py``: what they could do together, and if one of them were another
- ``bottleneck.py``: what holds the run up; ``advice.py``: what to change, and what that gains
- ``finding.py``: what of that a finished run keeps
- ``refusals.py``: what to do about servers that refuse many calls
- ``stalls.py``: what stands still; ``failing.py``: whether all items of a stage fail;
  ``checks.py``: whether the numbers agree with each other
- ``outlook.py``: what is left of a run, once that is estimated; ``interval.py``: a number that is not known exactly
- ``reading.py``: what a page asks of the runs of a database
"""
