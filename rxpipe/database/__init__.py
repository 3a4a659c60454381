"""The sink: outcomes as rows of a database."""
