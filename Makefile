# What a contributor runs, in the environment of `pip install -e ".[test]"`.  `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help check types test all fast coverage docs bench gate ci release

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check:  ## format and lint
	ruff format --check .
	ruff check .

types:  ## mypy and pyright, strict
	mypy -p rxpipe
	mypy tests examples
	mypy tests/conftest.py
	pyright

test:  ## all tests
	python -m pytest

all:  ## all tests, and every case of the long ones
	python -m pytest --all

fast:  ## the tests that need no server and take less than a quarter of a second each
	python -m pytest --fast

coverage:  ## pip install pytest-cov: the fast tests, and what they reach; fails below what was reached before
	python -m pytest --fast --cov

docs:  ## the site, into site/; a warning or a broken link is an error: pip install -e ".[docs]"
	python -m tests.documents.reference
	python -m tests.documents.site

bench:  ## the benchmarks beside other libraries: pip install -e ".[benchmark]"
	python -m tests.benchmarks

gate:  ## a short benchmark: fails if rxpipe is slower beside hand-written asyncio than it was
	python -m tests.benchmarks.gate --short

ci:  ## all that CI runs, in an environment of its own
	.ci/run

release:  ## build, check and tag the version that pyproject.toml names
	.ci/release
