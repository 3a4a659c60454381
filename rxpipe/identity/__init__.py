"""The identity of a pipeline. With it, the run store finds a pipeline's run, and the sink a pipeline's table.

- ``identity.py``: ``Identity``: a name, and the stages
- ``names.py``: the name; ``signature.py``: the properties of stages on which checkpoints depend; ``code.py``: a hash of
  a function's code
- ``arguments.py``: the arguments that a function takes
"""

from __future__ import annotations

from rxpipe.identity.identity import Identity

__all__ = ["Identity"]
