# Every target sets up what it needs by itself. `make help` lists them.
# Variables, on the command line or in the environment: ANTENNA_HOME (.local), ANTENNA_KAFKA_PORT (9092),
# ANTENNA_DB_PORT (5433), ANTENNA_AIRFLOW_PORT (8080), ANTENNA_SPARK_MASTER (local[2]).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run stop status check replay setup test drill soak lint audit sbom requirements

PYTHON := .venv/bin/python
STACK := $(PYTHON) -m include.local_stack
MAINTENANCE := PYTHONPATH=spark_jobs $(PYTHON) -m include.maintenance
CODE := include dags plugins spark_jobs tests

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target text; do \
		printf '  make %-14s %s\n' "$$target" "$$text"; done

run: ## Start the stack, with traffic; ONCE=1: prove that it works, then stop; SIMULATOR=0: without traffic
	@scripts/setup.sh run
	@$(STACK) run

stop: ## Stop the stack, also after a crash
	@scripts/setup.sh run
	@$(STACK) stop

status: ## One screen about the running stack; exits 0 only if it is healthy
	@scripts/setup.sh run
	@$(STACK) status

check: ## Compare archive and tables; DEEP=1: read every file; exits 0 only if nothing differs
	@scripts/setup.sh run
	@$(MAINTENANCE) check

replay: ## Count rejected records that the rules accept now; REASON=too_late, FROM=, BEFORE= select
	@scripts/setup.sh run
	@$(MAINTENANCE) replay

setup: ## Install everything: Python packages, Java (Debian, as root), jars
	@scripts/setup.sh dev
	@$(STACK) setup

test: ## Every test, against real services of its own; ARGS="-k name" selects
	@scripts/setup.sh dev
	@$(STACK) setup
	@$(PYTHON) -m pytest --numprocesses 2 --no-loadscope-reorder $(ARGS)

drill: ## Seeded fault drills, as root: SEEDS=25; SEED=17 ONLY=name replays; ALL=1: no turns; RESUME=1 goes on
	@scripts/setup.sh dev
	@$(STACK) setup
	@$(PYTHON) -m pytest tests/drills --numprocesses 2 --no-loadscope-reorder --durations=0 --durations-min=999 \
		--seeds $(or $(SEED),1-$(or $(SEEDS),1)) $(if $(ONLY),-k "$(ONLY)") \
		$(if $(filter 1,$(ALL)),--all-drills) $(if $(filter 1,$(RESUME)),--resume) $(ARGS)

soak: ## Steady traffic into a stack of its own, and what grows: MINUTES=120 EVENTS_PER_SECOND=200
	@scripts/setup.sh dev
	@$(STACK) setup
	@$(PYTHON) -m tests.drills.soak --minutes $(or $(MINUTES),120) --events-per-second $(or $(EVENTS_PER_SECOND),200)

lint: ## Linters and types
	@scripts/setup.sh dev
	@$(PYTHON) -m ruff check $(CODE)
	@$(PYTHON) -m ruff format --check $(CODE)
	@$(PYTHON) -m mypy $(CODE)
	@$(PYTHON) -m sqlfluff lint --disable-progress-bar include/sql

audit: ## Look for known weaknesses of the locked packages; needs PyPI's advisories, fails where they are not reached
	@scripts/setup.sh dev
	@.venv/bin/uv tool run --quiet pip-audit@2.10.1 --strict --disable-pip --progress-spinner off -r requirements.txt

sbom: ## Write artifacts/sbom.json, the locked packages in CycloneDX
	@scripts/setup.sh dev
	@mkdir -p artifacts
	@.venv/bin/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --output-reproducible -o artifacts/sbom.json requirements.txt
	@echo artifacts/sbom.json

requirements: ## Compile requirements*.txt from requirements*.in
	@scripts/setup.sh dev
	@for name in requirements requirements-dev; do \
		.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --custom-compile-command "make requirements" \
			--output-file $$name.txt $$name.in || exit 1; done
