"""What a pipeline is known by: its name (``names``), its stages (``signature``) and their code (``code``).

``Identity`` puts these together. The run store finds a pipeline's run by it, and the sink a pipeline's table.
"""

from __future__ import annotations

from rxpipe.identity.identity import Identity

__all__ = ["Identity"]
