# Two commands on a fresh machine: `make run` and `make test`. `make help` lists the rest.

PYTHON      ?= python3
VENV        ?= .venv
DIR         ?= run/qs
PORT_OFFSET ?= 0
SERVERS     ?= 2
SECONDS     ?= 120
SEED        ?=
COUNT       ?= 300
TESTS       ?= trial_tests zatotx.plugins
UNITS       ?= trial_tests.unit
JOBS        ?= 3

BIN    := $(VENV)/bin
PIP     = PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPAT := --config-settings editable_mode=compat
KNOWN  := -c constraints.txt

# Per cent of the lines of zatotx/ that all tests together must reach; some of them alone need reach nothing.
FLOOR := $(if $(filter command line,$(origin TESTS)),0,90)

# What `make test` needs beside Python: names of Debian packages that the tests' real peers come in. Tests run their
# programs themselves; the services that the packages set up are not used. Valkey is in a wheel. mandoc reads the
# manual pages.
PEERS := chromium curl fish gcc haproxy lftp mandoc mariadb-server nginx openssl postgresql promtool python3-dev \
	rabbitmq-server systemd tinyproxy valkey-server vsftpd zsh

.PHONY: help run stop test unit browser coverage lint docs docs-check news bench instructions clean fuzz chaos mutants constraints dist changelog
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 16

run: $(VENV)/.installed  ## an environment in DIR (run/qs), started, with the demo answering: PORT_OFFSET=0 SERVERS=2
	@test -e "$(DIR)/credentials.toml" || \
	    $(BIN)/zatotx quickstart create "$(DIR)" --servers $(SERVERS) --port-offset $(PORT_OFFSET)
	@$(BIN)/zatotx start "$(DIR)"
	@$(BIN)/python examples/show.py "$(DIR)"

stop:  ## ends what `make run` started in DIR; requests under way finish
	@if test -e "$(DIR)/credentials.toml"; then $(BIN)/zatotx stop "$(DIR)"; else echo "Nothing runs in $(DIR)."; fi

test: $(VENV)/.tested peers  ## all tests with real peers and the coverage of zatotx/ (TESTS=trial_tests.unit for some)
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m trial_tests.support.side_by_side --coverage $(if $(RECORD),--record) $(JOBS) $(TESTS); failed=$$?; \
	$(BIN)/python -m coverage combine --quiet; test $$failed = 0 || exit $$failed; \
	$(BIN)/python -m coverage report --fail-under=$(FLOOR)

unit: $(VENV)/.tested  ## the unit tests alone, without coverage, in a minute (UNITS=trial_tests.unit.rules for some)
	@$(BIN)/python -m trial_tests.support.side_by_side $(JOBS) $(UNITS)

browser: $(VENV)/.tested  ## the web admin in Chromium: axe, all links, 10,000 objects, live figures, pictures (ONLY=crawl)
	@sh .ci/need chromium postgresql rabbitmq-server
	@$(BIN)/python -m trial_tests.browser.run $(if $(ONLY),--only $(ONLY))

lint: $(VENV)/.tested docs-check news constraints-check shell-check  ## ruff, mypy, import-linter, shellcheck, news fragments, generated pages
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.tested  ## docs/reference/ anew from the code, and the site in build/docs/, every warning an error
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/man.py build/man/man1
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "The site is in build/docs/index.html, manual pages are in build/man"

docs-check: $(VENV)/.installed
	$(BIN)/python docs/reference.py --check

news: $(VENV)/.tested
	$(BIN)/towncrier build --draft --version next > /dev/null

.PHONY: constraints-check
constraints-check: $(VENV)/.tested
	$(BIN)/python .ci/constraints.py --check

# Every file of the repository that says that a shell runs it.
.PHONY: shell-check
shell-check:
	@sh .ci/need shellcheck
	shellcheck $$(grep -rIlE '^#! ?/(usr/)?bin/(env )?(ba|da|k)?sh' \
	    .ci bench contrib docs examples trial_tests twisted zatotx)

bench: $(VENV)/.benched  ## figures beside peers, in one run, into bench/results/ (PROFILE=1: where the time goes; ONLY=echo)
	@sh .ci/need curl haproxy nginx rabbitmq-server valgrind vsftpd wrk
	$(BIN)/python -m bench.run $(if $(PROFILE),--profile) $(if $(ONLY),--only $(ONLY))

instructions: $(VENV)/.tested  ## instructions per request, at most 5 % above the committed ones (WRITE=1: replace these)
	@sh .ci/need valgrind
	$(BIN)/python -m bench.instructions $(if $(WRITE),--write,--check)

mutants: $(VENV)/.tested  ## whether tests notice small mistakes in what decides: COUNT=300 (0: all) SEED= ONLY=rules/retry
	@SEED=$(SEED) COUNT=$(COUNT) $(BIN)/python -m trial_tests.support.mutants $(ONLY)

fuzz: $(VENV)/.tested  ## the properties of trial_tests/properties/ for SECONDS (120) in all, from SEED
	@ZATOTX_FUZZ_SECONDS=$(SECONDS) ZATOTX_FUZZ_SEED=$(SEED) $(BIN)/python -m trial_tests.support.fuzz

chaos: $(VENV)/.tested  ## kills nodes, leaders, Redis and brokers (KILLS=20, LEADER_KILLS=50) while MESSAGES (20000) run, from SEED
	@SEED=$(SEED) MESSAGES=$(MESSAGES) KILLS=$(KILLS) $(BIN)/python -m trial_tests.support.work_chaos
	@SEED=$(SEED) LEADER_KILLS=$(LEADER_KILLS) $(BIN)/python -m trial_tests.support.leader_chaos
	@SEED=$(SEED) MESSAGES=$(MESSAGES) KILLS=$(KILLS) $(BIN)/python -m trial_tests.support.amqp_chaos
	@SEED=$(SEED) MESSAGES=$(MESSAGES) KILLS=$(KILLS) $(BIN)/python -m trial_tests.support.ibm_mq_chaos
	@SEED=$(SEED) TIMES=$(KILLS) $(BIN)/python -m trial_tests.support.amqp_kill_points

constraints: | $(BIN)/python  ## writes constraints.txt anew: the newest of everything that setup.cfg wants
	$(PIP) $(COMPAT) --upgrade --upgrade-strategy eager -e '.[test,bench,postgresql,mysql]'
	$(BIN)/python .ci/constraints.py

dist: $(VENV)/.tested  ## wheel and sdist into dist/
	rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m build --no-isolation

changelog: $(VENV)/.tested  ## the news fragments become the part of CHANGELOG.md of VERSION=1.2.3
	@test -n '$(VERSION)' || { echo 'Say which version: make changelog VERSION=1.2.3' >&2; exit 2; }
	$(BIN)/towncrier build --yes --version '$(VERSION)'

clean:  ## everything made here, save environments
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis _trial_temp* .coverage*
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name dropin.cache -exec rm -f {} +

.PHONY: peers
peers:
	@test -z '$(PEERS)' || sh .ci/need $(PEERS)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'zatotx needs Python 3.11 or newer: make PYTHON=/path/to/python3 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null || sh .ci/need python3-venv
	$(PYTHON) -m venv $(VENV)

# One stamp a set of requirements: pip runs where setup.cfg changed, and not on every command.
$(VENV)/.installed: setup.cfg setup.py constraints.txt | $(BIN)/python
	$(PIP) $(COMPAT) $(KNOWN) -e .
	@touch $@

$(VENV)/.tested: setup.cfg setup.py constraints.txt | $(BIN)/python
	$(PIP) $(COMPAT) $(KNOWN) -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.benched: setup.cfg setup.py constraints.txt | $(BIN)/python
	$(PIP) $(COMPAT) $(KNOWN) -e '.[test,bench]'
	@touch $@ $(VENV)/.installed
