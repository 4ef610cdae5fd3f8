# longform: `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
# Two at once, each file by one: most tests wait for processes of their own.
PYTEST_FLAGS ?= -n 2 --dist loadfile
CHECK ?=
PLATFORM ?= aarch64
WHEELHOUSE_FLAGS ?=

EXTRAS := train,serve,documents,otel,openvino,zh,ray
GROUPS := dev docs
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A wheel mirror, or PyTorch's CPU wheels, can be named by PIP_FLAGS or pip's own configuration.
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format docs bench wheelhouse arm64 clean clean-install

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Set up .venv with everything (again only when the requirements changed)

# pip reads --group only since 25.1; the groups are plain lists, so tomllib hands them to any pip.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "longform needs Python 3.11 or newer. Found: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Install one and name it: make install PYTHON=python3.11" >&2; exit 2; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "Python could not create $(VENV); on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -c 'import tomllib; \
	  groups = tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]; \
	  print("\n".join(line for name in "$(GROUPS)".split() for line in groups[name]))' \
	  > $(VENV)/groups.txt
	$(PIP) install -q $(PIP_FLAGS) -c constraints.txt -r $(VENV)/groups.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: install ## Two-minute tour: train, compare, evaluate, serve (CHECK=1: probe once and exit)
	$(BIN)/longform demo $(if $(CHECK),--check)

test: lint ## Everything that must pass: lint, then all tests
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: install ## ruff, mypy --strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install ## Format the code and apply ruff's safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install ## Build the documentation into site/
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheelhouse: install ## Every wheel for a machine without internet (PLATFORM=aarch64 or x86_64)
	$(BIN)/python deploy/offline/wheelhouse.py --platform $(PLATFORM) $(WHEELHOUSE_FLAGS)

arm64: install ## Segmenter and runtime on emulated arm64 (root; qemu-user-static, mmdebstrap)
	tests/arm64/run.sh

bench: install ## Run the benchmarks on this machine (after make demo)
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean: ## Remove what can be built again, but for .venv
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

clean-install: ## Remove .venv too and set it up anew
	rm -rf $(VENV)
	$(MAKE) install
