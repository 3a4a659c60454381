"""Question banks that fill themselves: the stages that ship with rxpipe.

- ``arithmetic/``: a bank that needs no network and no key
- ``llm/``: a bank that a language model fills
- ``inputs.py``: what the stages of both take
"""
