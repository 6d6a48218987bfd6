# One line a target: the work is done by the programs named.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 30
export PYTHON PREFIX DESTDIR RESTART

.PHONY: help run bench bench-quick bench-latency bench-kernels test coverage test-kernels ordeal lint install uninstall deb wheel bounds clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 15

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV) && $(BIN)/pip install -q -e '.[dev,bench]' && touch $@

run: $(VENV)/.installed ## perform the main job in two namespaces and print what was measured
	$(BIN)/python -m bench.demo

bench: $(VENV)/.installed ## everything against tbf and htb in ten minutes, with plots: bench/results
	$(BIN)/python -m bench run

bench-quick: $(VENV)/.installed ## a few rows of it in a minute
	$(BIN)/python -m bench run --quick

bench-latency: $(VENV)/.installed ## what waits behind what, and what a bucket is worth, in ten minutes
	$(BIN)/python -m bench run --only latency,trade --output bench/results/latency.json

bench-kernels: $(VENV)/.installed ## beside CAKE, fq_codel leaves and netem, under a user-mode Linux: KERNEL=path/to/linux
	chrt --rr 1 bench/uml.sh "$(KERNEL)" $(BIN)/python -m bench run --only kernels --minutes 20 --output bench/results/kernels.json

test: $(VENV)/.installed lint ## everything: lint, unit, kernel, system and repository tests
	$(BIN)/pytest -n 2 --dist worksteal tests/unit tests/repo --cov --cov-report=
	@echo "lines and branches of shaper/ that these ran: $$($(BIN)/coverage report --format=total) % (make coverage lists the rest)"
	$(BIN)/pytest -n 3 --dist loadfile -m together tests/kernel tests/system
	$(BIN)/pytest -n 2 --dist worksteal -m 'light and not together' tests/kernel
	$(BIN)/pytest -m 'not light and not together' tests/kernel tests/system

coverage: $(VENV)/.installed ## branches of shaper/ that the unit tests run; pyproject.toml says what is left out, and why
	$(BIN)/pytest -n 2 --dist worksteal tests/unit --cov --cov-report=term-missing:skip-covered

ordeal: $(VENV)/.installed ## faults by the thousand, for half an hour: CAMPAIGNS='name[=count] ...' MINUTES=30
	$(BIN)/python -m tests.ordeal --minutes $(MINUTES) $(CAMPAIGNS)

test-kernels: $(VENV)/.installed ## what this kernel lacks (ppp, wireguard): SHAPER_VM=PROGRAM runs its argument under another ('bench/uml.sh KERNEL')
	@test -n "$(SHAPER_VM)" || echo "skipped: set SHAPER_VM to a program that runs a command under another kernel"
	@test -z "$(SHAPER_VM)" || $(SHAPER_VM) "$(BIN)/python -m pytest -p no:cacheprovider tests/kernels"

lint: $(VENV)/.installed ## ruff, its formatting, and mypy --strict
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

install: ## the daemon, the command and the service, below PREFIX (/usr/local), staged in DESTDIR
	packaging/install.sh

deb: ## a Debian package of the same, in build/deb
	packaging/deb.sh

wheel: $(VENV)/.installed ## wheel and sdist, the same bytes each time, in dist
	$(BIN)/python packaging/distribution.py dist

bounds: ## tests with the lowest and the newest versions of what is needed: TESTS='tests/unit'
	$(PYTHON) packaging/version_bounds.py $(TESTS)

uninstall: ## remove what install put there; configuration and state are kept
	packaging/uninstall.sh

clean: ## remove what running, building and testing left in the checkout
	rm -rf $(VENV) build dist .coverage *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
