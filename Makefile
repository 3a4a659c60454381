# Commands for contributors, in the environment of `pip install -e ".[test]"`.  `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help check types test all fast coverage docs bench gate ci release

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check:  ## check format and lint
	ruff format --check .
	ruff check .

types:  ## run mypy and pyright, strict
	mypy -p rxpipe
	mypy tests examples
	mypy tests/conftest.py
	pyright

test:  ## run all tests
	python -m pytest

all:  ## run all tests, and every case of the long ones
	python -m pytest --all

fast:  ## run the tests that need no server and take less than a quarter of a second each
	python -m pytest --fast

coverage:  ## show what the fast tests reach; fails below what they reached before: pip install pytest-cov
	python -m pytest --fast --cov

docs:  ## build the site, into site/; a warning or a broken link is an error: pip install -e ".[docs]"
	python -m tests.documents.reference
	python -m tests.documents.site

bench:  ## run the benchmarks beside other libraries: pip install -e ".[benchmark]"
	python -m tests.benchmarks

gate:  ## run a short benchmark; fails if rxpipe is slower beside hand-written asyncio than it was
	python -m tests.benchmarks.gate --short

ci:  ## run all that CI runs, in an environment of its own
	.ci/run

release:  ## build, check and tag the version that pyproject.toml names
	.ci/release
