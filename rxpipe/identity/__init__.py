"""What a pipeline is known by. The run store finds a pipeline's run by it, and the sink a pipeline's table.

- ``identity.py``: ``Identity``: a name, and the stages
- ``names.py``: the name; ``signature.py``: what checkpoints depend on; ``code.py``: a hash of a function's code
- ``arguments.py``: what arguments a function takes
"""

from __future__ import annotations

from rxpipe.identity.identity import Identity

__all__ = ["Identity"]
