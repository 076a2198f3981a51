# PYTHON chooses the interpreter of a new .venv, ARGS is passed on.
PYTHON ?= python3
SERVERS ?= auto
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs check build coverage lowest servers clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo:  ## Save, update and recall a sample conversation; no server, no key
	@$(PYTHON) scripts/install
	@.venv/bin/memora demo $(ARGS)

test: dev  ## Run every test; starts Neo4j itself (SERVERS=auto|require|off)
	@scripts/test --servers=$(SERVERS) $(ARGS)

lint: dev  ## ruff, formatting, types
	@scripts/lint

docs: dev  ## Build the documentation into site/
	@scripts/docs

check: dev  ## Generated files, version, and the house's numbers
	@scripts/check

build: dev  ## Build wheel and sdist, and try the wheel in an empty environment
	@scripts/build --try

coverage: dev  ## Branch coverage with its limits
	@scripts/coverage

lowest: dev  ## Quick tests with the lowest versions that pyproject.toml allows
	@.venv/bin/python scripts/lowest

servers: dev  ## Run a Neo4j for development until Ctrl-C
	@.venv/bin/python scripts/servers

clean:  ## Remove what was built, and the environment
	rm -rf .venv .cache build dist site .coverage* .pytest_cache .ruff_cache .hypothesis

.PHONY: dev
dev:
	@$(PYTHON) scripts/install dev
