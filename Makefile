# Needs a Python >= 3.11 with venv and pip, nothing else. Everything goes into .venv; a second call
# installs nothing. Paths are relative and tools are called as modules, so that a folder with a space
# in its name does no harm.

VENV_WORKS = import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c '$(VENV_WORKS)' 2>/dev/null && echo "$$p" && break; done)
PY := .venv/bin/python
PIP := $(PY) -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: demo test test-hosts lint zoo bench docs clean help moved

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r what why; do \
		printf '%-12s %s\n' "$$what" "$$why"; done

demo: .venv/.run  ## diagnose, repair and prove on real digits; writes demo-output/
	@$(PY) tools/demo.py

test: .venv/.test  ## the test suite, on two workers (ARGS='-k name' is passed on)
	@sh tools/get_chromium.sh
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 $(ARGS)

test-hosts: .venv/.hosts  ## against the trainers and loggers of others, which it installs (600 MB)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m hosts tests $(ARGS)

lint: .venv/.lint  ## style, types, and the floors of the design
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright
	@echo "import-linter"
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo

docs: .venv/.test  ## check the documentation: its code runs, every rule and command has its page
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/test_docs.py $(ARGS)

zoo: .venv/.run  ## judge the doctor: every training with a known diagnosis (ARGS='--seeds 1')
	@OMP_NUM_THREADS=1 $(PY) -m sounding zoo run $(ARGS)

bench: .venv/.test .venv/.peers  ## every benchmark, one after the other
	@for file in benchmarks/*.py; do \
		[ -e "$$file" ] || { echo "No benchmarks yet."; exit 0; }; \
		echo "== $$file"; $(PY) "$$file" || exit 1; done

clean:  ## remove .venv and everything else that make wrote
	rm -rf .venv demo-output dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed, as stamps. An editable install remembers where it was made: a moved or copied
# folder makes it again (and finds everything else in place).

ifneq "$(shell cat .venv/.place 2>/dev/null)" "$(CURDIR)"
.venv/.made: moved
endif

.venv/.made:
	@"$(PYTHON)" -c '$(VENV_WORKS)' 2>/dev/null || { echo "Sounding needs Python 3.11 or newer with\
	 venv and pip, and found none; install one (on Debian: apt-get install python3 python3-venv) or\
	 name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making .venv with $$("$(PYTHON)" --version) ..."
	@"$(PYTHON)" -m venv .venv
	@$(PIP) hatchling
	@printf '%s\n' "$(CURDIR)" > .venv/.place
	@touch $@

.venv/.torch: .venv/.made tools/get_torch.py
	@$(PY) tools/get_torch.py
	@touch $@

.venv/.run: .venv/.torch constraints.txt pyproject.toml
	@echo "Installing Sounding and what it runs on ..."
	@$(PIP) --no-build-isolation -e '.[demo]'
	@touch $@

.venv/.test: .venv/.run
	@echo "Installing the test tools ..."
	@$(PIP) --no-build-isolation -e '.[test]'
	@touch $@

.venv/.hosts: .venv/.test
	@echo "Installing the packages of others that Sounding works with ..."
	@$(PIP) --no-build-isolation -e '.[hosts]'
	@touch $@

.venv/.peers: .venv/.run tools/get_peers.py
	@$(PY) tools/get_peers.py
	@touch $@

.venv/.lint: .venv/.run
	@echo "Installing the lint tools ..."
	@$(PIP) --no-build-isolation -e '.[lint]'
	@touch $@
