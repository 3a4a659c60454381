"""Question banks that fill themselves: the stages that ship with rxpipe.

- ``arithmetic/``: a bank that needs no network and no key; ``rehearsed.py``: the same with the waits and
  faults of calls to a model, to see a run before there is one
- ``llm/``: a bank that a language model fills
- ``near_duplicates.py``: the stage ``distinct``, which drops a question that resembles an earlier one;
  ``seen_texts.py``: the file in which it remembers them
- ``voting.py``: the stages ``samples`` and ``majority``, between which a question is answered several times
- ``inputs.py``: what the stages of both banks take; ``hints.py``: what annotations say of it before anything runs
"""

from __future__ import annotations

from rxpipe.questions.near_duplicates import distinct
from rxpipe.questions.voting import majority, samples

__all__ = ["distinct", "majority", "samples"]
