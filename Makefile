# make demo: build, fetch a small model, tell a joke.   make test: build, check everything.   make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.llama_bind
OPTIONS := $(VENV)/.cmake_args
SOURCES := pyproject.toml CMakeLists.txt llama_bind/lib/_pin.py $(wildcard buildsystem/*.py native/*.* native/*/*)

# Tests that never wait for the default model: several processes at once. The others have the processors for themselves.
QUICK := tests/pure tests/native tests/building

.DELETE_ON_ERROR:
.PHONY: help demo test judges soak browser site build wheel clean FORCE

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1: /p' Makefile

demo: $(STAMP) ## fetch the default model once and have it tell a joke
	@$(BIN)/llama-bind demo

test: $(STAMP) browser ## linters, types, generated files, tests
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m codegen --check
	$(BIN)/python -m pytest -n 3 --dist loadfile $(QUICK)
	$(BIN)/python -m pytest $(QUICK:%=--ignore=%)
	$(BIN)/python -m scripts.docs_site
	@$(MAKE) --no-print-directory judges

judges: $(STAMP) ## clients and frameworks of others try the package, in an environment of their own
	$(BIN)/python -m scripts.judges_env
	build/judges/bin/python -m pytest -n 2 --dist loadfile tests/judges
	build/judges-compat/bin/python -m pytest -n 2 --dist loadfile tests/judges/compat
	build/judges-llm/bin/python -m pytest tests/judges/llm_plugin

soak: $(STAMP) ## ten minutes of mixed load on the server: nothing may leak, no slot may stay taken
	$(BIN)/python -m scripts.soak --minutes 10

browser: $(STAMP) ## Chromium and Node.js to try the chat page with, where they are missing (Debian, as root)
	@$(BIN)/python -m scripts.browser

site: $(STAMP) ## the pages under docs as a site in build/site
	$(BIN)/python -m scripts.docs_site

build: $(STAMP) ## .venv with the package, its libraries and everything for development

wheel: $(STAMP) ## dist/*.whl for this platform
	$(BIN)/python -m build --wheel

clean: ## remove what was built; downloads stay in the user's cache folder
	rm -rf $(VENV) build dist llama_bind/lib/native

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: $(PYTHON) is missing or older than 3.10. Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }

# Remembers the options of the last build, so that other options build again.
$(OPTIONS): FORCE | $(BIN)/python
	@printf '%s\n' '$(subst ','\'',$(CMAKE_ARGS))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(CMAKE_ARGS))' > $@

$(STAMP): $(SOURCES) $(OPTIONS) $(if $(wildcard llama_bind/lib/native/*),,FORCE) | $(BIN)/python
	$(BIN)/python -m buildsystem.vendor
	@echo "Compiling llama.cpp: some minutes the first time"
	@$(BIN)/python -m buildsystem.quietly build/build.log \
	  $(BIN)/python -m pip install --disable-pip-version-check --verbose --no-deps --editable .
	$(BIN)/python -m pip install --disable-pip-version-check --quiet 'llama-bind[dev]'
	@touch $@
