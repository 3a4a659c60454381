"""A pipeline that stays open: IDs are submitted one by one, and each gives its outcome.

What is where:

- ``open_pipeline.py``: ``OpenPipeline``, the result of ``Pipeline.open``: a run from its start to its draining
- ``submission.py``: ``Submission``, the result of submitting an ID
- ``admission_queue.py``: holds IDs until there is room for them, and passes outcomes to the submitters
- ``admitted_ids.py``: the entry of an ID in the queue, and the way of IDs from the queue into the stages
- ``events.py``: the published events; ``health.py``: the state of the pipeline
"""

from __future__ import annotations

from rxpipe.pipeline.open.events import Event
from rxpipe.pipeline.open.health import Health
from rxpipe.pipeline.open.open_pipeline import OpenPipeline
from rxpipe.pipeline.open.submission import Submission

__all__ = ["Event", "Health", "OpenPipeline", "Submission"]
