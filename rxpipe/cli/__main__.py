"""``python -m rxpipe.cli``: the same as ``rxpipe``."""

from __future__ import annotations

import sys

from rxpipe.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
