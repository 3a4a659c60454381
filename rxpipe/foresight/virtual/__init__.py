"""A pipeline in virtual time, whose calls are drawn instead of made.

- ``copies.py``: a pipeline with drawn calls
- ``simulated_stage.py``: where these run; ``paced.py``: the values of a generator
- ``server.py``: what they go to
- ``rare_collections.py``: a simulation's time without much garbage collection
"""
