"""The question bank in each peer: scripts that run in the peers' environments, where rxpipe is not installed.

Each is run from a checkout as ``python -m tests.benchmarks.llm_peers_scripts.NAME URL QUESTIONS FOLDER [VARIANT]``, by
``tests.benchmarks.llm_peers``. The peers are imported by name, so that type checkers do without them.

- ``common``: prompts, and the clock around a run
- ``ours``: rxpipe
- ``plain_openai``, ``inspect_task``, ``distilabel_pipeline``, ``data_designer_columns``: the peers
"""
