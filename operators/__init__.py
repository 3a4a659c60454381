"""The Rx operators, imported as ``rxpipe.operators``."""
