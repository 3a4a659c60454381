"""Question banks that fill themselves: the stages that ship with rxpipe.

- ``arithmetic/``: a bank that needs no network and no key; ``rehearsed.py``: the same bank with the waits and faults of
  calls to a model, to see a run before you have a model
- ``llm/``: a bank that a language model fills
- ``near_duplicates.py``: the stage ``distinct``, which drops a question that resembles an earlier one;
  ``seen_texts.py``: the file in which ``distinct`` remembers the earlier texts
- ``voting.py``: the stages ``samples`` and ``majority``. Between them a question is answered several times
- ``inputs.py``: the inputs of the stages of both banks; ``hints.py``: checks annotations before any call
"""

from __future__ import annotations

from rxpipe.questions.near_duplicates import distinct
from rxpipe.questions.voting import majority, samples

__all__ = ["distinct", "majority", "samples"]
