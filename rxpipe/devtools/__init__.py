"""Tools to try pipelines with.

- ``fake_llm/``: a server that answers as a language model does, with latencies, faults and limits
- ``compare/``: all strategies and schedulers side by side
"""
