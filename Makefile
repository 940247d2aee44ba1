# Every verb sets up what it needs: the environment .venv, installed from constraints.txt.
#   make search                          a search on this machine, in a few minutes
#   make search ARGS="--set seed=1"      the same with other settings
#   make test                            the tests

PYTHON ?= python3
ARGS ?=
PIP = .venv/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt
INSTALLED_FROM = setup.cfg pyproject.toml constraints.txt

.PHONY: search test check test-slow test-cluster bench docs proto clean

search: .venv/installed
	.venv/bin/nasrl search $(ARGS)

# Tests without Ray run side by side; those with it, and whole searches, one after the other.
test: .venv/installed-dev
ifeq ($(strip $(ARGS)),)
	.venv/bin/python -m pytest --numprocesses auto tests/child tests/controller tests/ps
	.venv/bin/python -m pytest --ignore tests/child --ignore tests/controller --ignore tests/ps
else
	.venv/bin/python -m pytest $(ARGS)
endif

test-slow: .venv/installed-dev
	.venv/bin/python -m pytest -m slow $(ARGS)

# A Ray cluster on hosts of its own; needs root, and openssh-server, rsync and iproute2 of Debian.
test-cluster: .venv/installed-dev
	.venv/bin/python -m pytest -m cluster tests/cluster $(ARGS)

check: .venv/installed-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/hadolint deploy/docker/Dockerfile
	.venv/bin/python -m pytest --quiet tests/deploy/test_cluster_files.py

bench: .venv/installed-dev
	.venv/bin/python benchmarks/learning.py $(ARGS)
	.venv/bin/python benchmarks/parameter_server.py
	.venv/bin/python benchmarks/child_training.py --networks six-layers
	.venv/bin/python benchmarks/orchestration.py --short
	.venv/bin/python benchmarks/dispatch.py --short
	.venv/bin/python benchmarks/layout.py --short
	.venv/bin/python benchmarks/ledger.py --quick
	.venv/bin/python benchmarks/recurrent_cells.py --sizes 1m --rounds 3
	.venv/bin/python benchmarks/sample_efficiency.py
	.venv/bin/python benchmarks/system_search.py

# The reference of settings, from the models that read them.
docs: .venv/installed
	.venv/bin/nasrl settings --markdown > docs/settings.md.tmp
	mv docs/settings.md.tmp docs/settings.md

proto: .venv/installed-dev
	.venv/bin/python -m grpc_tools.protoc --proto_path=proto --python_out=. --pyi_out=. \
	    --grpc_python_out=. $$(find proto -name '*.proto')

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is $$($(PYTHON) --version 2>&1): nasrl needs Python 3.11 or newer;" \
	        "name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making the environment .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	    echo "no venv module: on Debian and Ubuntu, apt install python3-venv"; exit 1; }

.venv/installed: .venv/bin/python $(INSTALLED_FROM)
	@echo "Installing nasrl and what it needs into .venv (PyTorch and Ray are large: some minutes)"
	@$(PIP) --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Installing the tools for development into .venv"
	@$(PIP) --quiet --editable '.[dev]'
	@touch $@
