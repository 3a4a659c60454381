"""A pipeline in virtual time, whose calls are drawn instead of made.

- ``copies.py``: a pipeline with drawn calls
- ``simulated_stage.py``: where these run; ``paced.py``: the values of a generator
- ``server.py``: what they go to
- ``to_the_end.py``: a run that is let happen, or has no end
- ``rare_collections.py``: a simulation's time without much garbage collection
"""
