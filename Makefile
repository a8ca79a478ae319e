# Everything a newcomer types. Each target sets up what it needs; a second call is quick.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup dev demo test check bench lock clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup:  ## make .venv with all that the demo needs
	@$(PYTHON) tools/setup.py base

dev:  ## add what tests and checks need
	@$(PYTHON) tools/setup.py dev

demo: setup  ## a real year of flights through all eight phases
	@$(BIN)/tidemill demo

test: dev  ## all tests, and every check
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

check: dev  ## format, lint, types, import rules and the fast tests
	@$(BIN)/ruff format -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -n 2 -m "not slow and not browser"

bench: dev  ## figures beside peers, into benchmarks/RESULTS.md
	@$(BIN)/python benchmarks/run.py

lock:  ## pin the newest releases (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements/base.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header requirements/build.in -o requirements/build.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --no-deps requirements/demo.in -o requirements/demo.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header requirements/airflow.in -o requirements/airflow.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header requirements/kfp.in -o requirements/kfp.txt

clean:  ## remove what set-up and runs made
	rm -rf .venv .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis departures.mill
