"""A pipeline in virtual time, which draws its calls instead of making them.

- ``copies.py``: makes a copy of a pipeline with drawn calls
- ``simulated_stage.py``: the executor of drawn calls; ``paced.py``: the values of a generator
- ``server.py``: the server that the calls go to
- ``to_the_end.py``: runs a simulation to its end, and notices if it has none
- ``rare_collections.py``: less garbage collection during a simulation
"""
