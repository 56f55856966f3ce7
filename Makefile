# Everything runs from a clone with Python 3.11, make and git; no other preparation.
.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 3000
BIN := .venv/bin
DEMO := out/demo
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export DO_NOT_TRACK := 1

.PHONY: help setup demo demo-project monitor-demo live-demo serve test fuzz check format docs clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(BIN)/.done ## install into .venv (CPU build of torch; for CUDA see the README)

$(BIN)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -U pip
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: setup ## the whole method on the embedded default, in out/demo: videos in, expert heads found, events out
	$(MAKE) demo-project
	cd $(DEMO) && dvc repro evaluate
	cd $(DEMO) && headhunt demo show --published

# A DVC project of its own: figures that differ in their last digits on another processor change nothing that git tracks.
# Its parameters, stages and model follow the clone, results stay.
demo-project:
	headhunt init $(DEMO) --demo --update

serve: setup ## the HTTP service on 127.0.0.1:3000 and one worker for its jobs, with the detector of artifacts/detector
	@headhunt worker & worker=$$!; bentoml serve --host 127.0.0.1 --port $(PORT) & service=$$!; \
	trap "kill $$worker $$service 2>/dev/null; wait" INT TERM EXIT; wait $$service

monitor-demo: setup ## three cameras that change within 14 days, and the page that shows it
	rm -rf out/monitor
	headhunt monitor simulate
	headhunt monitor ui

live-demo: setup ## three rendered cameras in real time, watched live: events, pictures and clips as they come; Ctrl-C ends it
	headhunt demo live

test: setup ## all tests, fast ones first, a process more than cores, as many wait for servers; COVERAGE=1: how much of src they run
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(if $(COVERAGE),COVERAGE_FILE=$(CURDIR)/.coverage COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml) \
	python -m pytest -n $$(python -c 'import os; print(os.cpu_count() + 1)') --dist loadscope --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report=term)

fuzz: setup ## every parser of what comes from outside on damaged and hostile input, for minutes; `make test` does it for seconds
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 python -m pytest tests/fuzz --hypothesis-profile fuzz

check: setup ## format, lint, types, layers
	ruff format --check src tests benchmarks docs/*.py
	ruff check src tests benchmarks docs/*.py
	mypy --strict src
	MYPYPATH=tests mypy benchmarks docs/*.py
	lint-imports

format: setup ## mend format and lint; make dvc.yaml from the table of stages
	python -m headhunt_svc.pipeline.stages > dvc.yaml
	ruff format src tests benchmarks docs/*.py
	ruff check --fix src tests benchmarks docs/*.py

docs: setup ## the documentation site, in out/site
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

clean: ## remove everything that was made here, the environment included
	rm -rf .venv .cache out data/demo data/demo.jsonl data/features data/measured data/reports data/test_features
