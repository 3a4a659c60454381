"""A pipeline that stays open: IDs are submitted to it one by one, and each gives its outcome.

What is where:

- ``open_pipeline.py``: ``OpenPipeline``, which ``Pipeline.open`` gives: a run, from its start to its draining
- ``submission.py``: ``Submission``, what whoever submits an ID has of it
- ``admission_queue.py``: holds IDs until there is room for them, and tells who waits how they ended
- ``admitted_ids.py``: what it holds of an ID, and how IDs go from it into the stages
- ``events.py``: what is published; ``health.py``: how it is
"""

from __future__ import annotations

from rxpipe.pipeline.open.events import Event
from rxpipe.pipeline.open.health import Health
from rxpipe.pipeline.open.open_pipeline import OpenPipeline
from rxpipe.pipeline.open.submission import Submission

__all__ = ["Event", "Health", "OpenPipeline", "Submission"]
