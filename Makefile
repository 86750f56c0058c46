# `make` lists the targets. `verify` never writes to the tree, `fix` does.

CARGO ?= cargo
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
STARLING = $(TARGET_DIR)/debug/starling
SCRIPTS = .ci/run $(wildcard tests/*.sh findings/*.sh deployment/*.sh deployment/*/*.sh)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-matrix build verify fix bench bench-store bench-scale bench-overlay simulate sockets chaos upgrade smoke-docker clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: ## set up what is missing, then show a whole cluster on this machine (DEMO='--nodes 5 --once')
	@deployment/setup.sh linker postgresql
	$(CARGO) run --locked --package starling -- demo $(DEMO)

test: ## set up what is missing, then run every check and every test
	@deployment/setup.sh linker postgresql nextest netns faketime
	@$(MAKE) --no-print-directory verify
	$(CARGO) build --locked --package starling
	tests/netns.sh $(STARLING)

test-matrix: ## the store's and the data plane's tests on PostgreSQL 15 to 18 (MATRIX='16 18')
	@deployment/setup.sh linker postgresql nextest
	tests/matrix.sh $(MATRIX)

build: ## build the program
	$(CARGO) build --locked --package starling

verify: ## formatting, lints, documentation, tests: reads only
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items
	@if $(CARGO) deny --version >/dev/null 2>&1; then set -x; $(CARGO) deny --locked check bans licenses sources; \
	else echo 'cargo deny is not installed: licences and sources are not checked'; fi
	@if command -v shellcheck >/dev/null; then set -x; shellcheck $(SCRIPTS); \
	else echo 'shellcheck is not installed: the scripts are not checked'; fi
	$(CARGO) test --locked --workspace --doc
	@if $(CARGO) nextest --version >/dev/null 2>&1; then set -x; $(CARGO) nextest run --locked --workspace; \
	else echo 'cargo-nextest is not installed: the tests run with cargo test'; set -x; \
	$(CARGO) test --locked --workspace --lib --bins --tests --examples -- --skip versions::mixed_ --skip upgrade::; fi

fix: ## format, and apply the lints that mend themselves
	$(CARGO) clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

bench: bench-store ## what the store and the data plane take, as tables of one run (BENCH=--json)
	$(CARGO) bench --locked --bench data_plane -- $(BENCH)

bench-store: ## what the store alone takes, beside plain tables (BENCH='--quick --json')
	@deployment/setup.sh linker postgresql
	$(CARGO) bench --locked --bench store -- $(BENCH)

bench-scale: ## what clusters of several sizes take, with data on a tree and flooding (BENCH='--stores 4,10,16')
	@deployment/setup.sh linker postgresql
	$(CARGO) bench --locked --bench scale -- $(BENCH)

bench-overlay: ## what the overlay's machines take per message, and how large each is (BENCH=encode)
	$(CARGO) bench --locked --package starling-simulation --bench overlay -- $(BENCH)

simulate: ## the overlay's scenarios in full size, to docs/overlay/results (SIMULATE=crash SEEDS=5 JOBS=1)
	$(CARGO) build --locked --release --package starling
	$(TARGET_DIR)/release/starling simulate $(or $(SIMULATE),all) --seeds $(or $(SEEDS),1) \
		$(if $(JOBS),--jobs $(JOBS)) --save docs/overlay/results

sockets: ## a hundred nodes on loopback beside a hundred simulated ones: fails where they differ (SOCKETS=50)
	$(CARGO) run --locked --release --package starling --example loopback -- $(SOCKETS)

chaos: ## whole nodes under every kind of trouble, with writers at each (SECONDS=1800 SEED=7)
	@deployment/setup.sh linker postgresql nextest
	STARLING_CHAOS_SECONDS=$(or $(SECONDS),600) $(if $(SEED),STARLING_CHAOS_SEED=$(SEED)) \
		$(CARGO) nextest run --locked --profile campaign --no-capture chaos_nodes::whole

upgrade: ## an earlier version's program and this one on the same data, in one cluster, under chaos (FROM=commit)
	@deployment/setup.sh linker postgresql nextest
	tests/upgrade.sh $(FROM)

smoke-docker: ## three nodes in containers; one is cut off while writes go on (needs a Docker engine)
	deployment/compose/smoke.sh

clean: ## remove what was built
	$(CARGO) clean
