# advarch. `make help` explains every target. Needs Python 3.11 or newer, pip and make; everything else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
# Each has a Slurm of its own, whose jobs wait more than they compute.
CLUSTERS ?= 4
# Ruff reads no setup.cfg; its settings stand here. E501 is the formatter's business, RUF001-3 would forbid a multiplication sign.
RUFF := --config 'line-length = 110' --config 'target-version = "py311"' \
  --config 'lint.flake8-bugbear.extend-immutable-calls = ["advarch.defenses.contract.TrainStep"]'
RULES := --select E,F,I,B,UP,SIM,RET,C4,PIE,T10,NPY,RUF --ignore E501,RUF001,RUF002,RUF003,RUF005,RUF012,SIM300,UP047,F722

.DEFAULT_GOAL := help
.PHONY: help setup demo test slurm-test check lint types bench bench-page report networks methods oracle tables smoke-all clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Compiles what was installed, on all cores, where pip takes one. Where Python writes no bytecode when it imports (a folder that can't be
# written, PYTHONDONTWRITEBYTECODE), each process would else compile PyTorch anew. Some packages carry files that are no Python, hence -qq.
COMPILE := $(BIN)/python -m compileall -qq -j 0 src/advarch "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true

# A user's environment: the package and what it needs.
.venv/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "advarch needs Python 3.11 or newer; name one with make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing advarch and what it needs into .venv (PyTorch is large; a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e .
	@$(COMPILE)
	@touch $@

# On top of it what the tests need. torchattacks pins a requests of 2021 and foolbox names what it hardly uses, so these two
# oracles come without their dependencies, and only here.
.venv/.installed-dev: .venv/.installed
	@echo "installing what the tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps torchattacks==3.5.1 foolbox==3.3.4
	@$(COMPILE)
	@touch $@

setup: .venv/.installed ## install into .venv
	@$(BIN)/python -m pip check

demo: .venv/.installed ## the main job: train, attack and report eight networks on real images
	@$(BIN)/advarch -m +sweep=demo
	@$(BIN)/advarch report +sweep=demo

test: .venv/.installed-dev ## the whole test suite; installs Debian's chromium if missing
	@tests/browser/install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

slurm-test: .venv/.installed-dev ## launching on a real Slurm of two nodes on this machine; installs Debian's packages if missing
	@tests/slurm/install
	$(BIN)/python -m pytest -n $(CLUSTERS) --dist worksteal -m slurm tests/slurm

check: lint types test ## everything that has to hold before a commit

lint: .venv/.installed-dev ## style, floors and bans, types
	$(BIN)/ruff check $(RUFF) $(RULES) src tests docs/guide/examples
	$(BIN)/ruff format $(RUFF) --check src tests docs/guide/examples
	$(BIN)/lint-imports
	$(BIN)/mypy

types: .venv/.installed-dev ## types alone
	$(BIN)/mypy

bench: .venv/.installed-dev ## speed beside other public code, in one run; the same with choices is advarch bench
	@$(BIN)/advarch bench

bench-page: .venv/.installed-dev ## the tables of docs/benchmarks.md, from outputs/bench.json
	@$(BIN)/python -m tests.bench

methods: .venv/.installed-dev ## the table of defenses in docs/methods/README.md, from the runs of sweeps/defenses
	@$(BIN)/python -m tests.methods

oracle: .venv/.installed-dev ## the truth about a small space and where searches stand in it, from the runs of sweeps/search
	@$(BIN)/python -m tests.oracle

networks: .venv/.installed-dev ## docs/networks.md and the counted columns of tests/papers/sizes.csv
	@$(BIN)/python -m tests.networks

tables: .venv/.installed-dev ## docs/guide/tables.md, from the heads of sweeps/
	@$(BIN)/python -m tests.tables

smoke-all: .venv/.installed-dev ## one job of every sweep of a paper at scale=smoke, into outputs/smoke
	@$(BIN)/python -m tests.smoke.every_sweep

report: .venv/.installed ## the demo's report again, from the runs in outputs/
	@$(BIN)/advarch report +sweep=demo

clean: ## remove .venv and what the tools left; runs in outputs/ stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
