# make rehearse   the main job, end to end, on an AWS emulated on this machine
# make chaos      every fault, many times; writes docs/reliability.md (about half an hour)
# make deaths     every way a run can end; writes docs/reliability.md (about ten minutes)
# make bench      every benchmark; writes docs/benchmarks.md (about half an hour; ARGS=--again repeats all)
# make test       the tests
# make ray        adds Ray, for `signspot extract --ray` and `signspot sweep` (450 MB)
# make audit      cfn-lint, checkov and parliament over every template and policy
# make check      format, lint, types, shell, import walls, audit, tests
# make lock       resolve pyproject.toml and package.json again
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup ray rehearse chaos deaths bench test lint audit check format lock clean

setup: .venv/installed node_modules/installed data/sample

$(BIN)/uv: requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "signspot needs Python 3.11, 3.12 or 3.13; call make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps --require-hashes -d .venv/wheels -r requirements/uv.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-index --find-links .venv/wheels --require-hashes -r requirements/uv.txt
	@touch $@

.venv/installed: $(BIN)/uv requirements/laptop.txt pyproject.toml
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/laptop.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

ray: setup .venv/ray

.venv/ray: .venv/installed requirements/ray.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/ray.txt
	@touch $@

.venv/bench: .venv/installed requirements/bench.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/bench.txt
	@touch $@

node_modules/installed: .venv/installed package-lock.json
	npm ci --silent
	@touch $@

data/sample: | .venv/installed
	$(BIN)/python -m trainer.sample data/sample

rehearse: setup
	$(BIN)/signspot rehearse $(ARGS)

chaos: setup
	$(BIN)/signspot chaos $(ARGS)
	$(BIN)/python -m cli.chaos_page results/chaos.json

deaths: setup
	$(BIN)/signspot deaths $(ARGS)
	$(BIN)/python -m cli.deaths_page results

bench: setup .venv/bench
	$(BIN)/python -m benchmarks $(ARGS)

# Four processes, for on two cores, too, tests wait more than they compute. Those of extraction skip where MediaPipe's
# hand model cannot be had.
test: setup ray .venv/bench .venv-audit/installed
	-$(BIN)/python -m trainer.hand_model
	$(BIN)/pytest -n 4 --dist loadfile $(ARGS)

check: lint audit test

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/shellcheck bootstrap/install.sh .ci/run
	$(BIN)/lint-imports

audit: setup .venv-audit/installed
	$(BIN)/python -m infra.audit

.venv-audit/installed: .venv/installed requirements/audit.txt
	$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-audit
	$(BIN)/uv pip install -q --python .venv-audit/bin/python --require-hashes -r requirements/audit.txt
	@touch $@

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
lock: $(BIN)/uv
	$(COMPILE) pyproject.toml --group rehearsal --group dev -o requirements/laptop.txt
	$(COMPILE) --group uv -c requirements/laptop.txt -o requirements/uv.txt
	$(COMPILE) --group box -c requirements/laptop.txt -o requirements/box.txt
	$(COMPILE) --group agent -c requirements/box.txt -o requirements/agent.txt
	$(COMPILE) --group box-gpu -c requirements/box.txt -o requirements/box-gpu.txt
	$(COMPILE) --group extraction -c requirements/laptop.txt -o requirements/extraction.txt
	$(COMPILE) --group tensorboard -c requirements/box.txt -o requirements/tensorboard.txt
	$(COMPILE) --group jupyter -c requirements/box.txt -o requirements/jupyter.txt
	$(COMPILE) --group ray -c requirements/laptop.txt -o requirements/ray.txt
	$(COMPILE) --group bench -o requirements/bench.txt
	$(COMPILE) --group audit -o requirements/audit.txt
	npm install --package-lock-only

clean:
	rm -rf .venv .venv-audit node_modules cdk.out cdk.context.json data/sample results *.egg-info
