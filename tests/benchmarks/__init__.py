"""Speed and memory of rxpipe beside its rivals: ``python -m tests.benchmarks`` from a checkout.

One run gives Markdown tables that can be pasted into the docs. Nothing here is a test: a machine that is busy
with something else must not fail a build.

- ``__main__``: the command line
- ``contenders``: who is measured in which table, and the ratios to reach
- ``measure``: rounds of fresh processes, medians, ratios; ``child`` is what such a process runs
- ``tables``, ``machine``: the Markdown, and where it was measured
- ``workload``: what every contender is given, and the tally that checks what it delivers
- ``flows``: what expand, batch and the like cost, by itself: ``python -m tests.benchmarks.flows``
- ``ours``, ``pipelines``, ``handwritten``, ``reactivex_rivals``, ``libraries``: the contenders themselves
"""
