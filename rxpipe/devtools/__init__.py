"""Tools to try pipelines with.

- ``fake_llm/``: a server that answers like a language model, with latencies, faults and limits
- ``compare/``: all strategies and schedulers side by side
"""
