# Every target first runs scripts/set-up.sh, which brings what the machine lacks.

.PHONY: help demo examples test test-long lint unit doc bench bench-peers bench-peers-build adapter fmt
.DEFAULT_GOAL := help

# rustup's place, for shells that have not read its profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Apple's make 3.81 looks in its own PATH, not this one, for commands that it starts without a shell.
ifeq ($(shell uname),Darwin)
SHELL := /bin/bash
endif

# A private folder keeps the Vulkan loader from remarking that there is none.
ifndef XDG_RUNTIME_DIR
export XDG_RUNTIME_DIR := $(CURDIR)/target/runtime
endif

# How far the demo trains; run again, it does what is left.
STEPS ?= 1000

# Property tests draw the same cases each time; `make unit SEED=7` draws others, test-long its own.
SEED ?= 1

# More arguments for the program: make unit ARGS="name"
ARGS ?=

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  ARGS="..." passes arguments on:  make unit ARGS="name"'
	@echo '                                   make demo STEPS=2000 ARGS="runs/another"'

demo: ## train the digit classifier for STEPS steps; run again, it resumes and does what is left
	@scripts/set-up.sh
	cargo run --release -p warmstart-examples --bin digits -- $(STEPS) $(ARGS)
	@echo "To train until step $$((2 * $(STEPS))): make demo STEPS=$$((2 * $(STEPS)))$(if $(ARGS), ARGS='$(ARGS)')"

examples: ## run every example program (or ARGS="name") and documentation example; a table says which passed
	@scripts/set-up.sh
	cargo build -p warmstart-examples --bins
	cargo run -q -p warmstart-examples --bin all -- $(ARGS)

test: lint unit doc ## everything CI checks: format, clippy, tests, documentation

lint: ## rustfmt and clippy, warnings denied
	@scripts/set-up.sh --lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

unit: ## unit, integration and doc tests (ARGS="name" picks some)
	@scripts/set-up.sh
	PROPTEST_RNG_SEED=$(SEED) cargo test --workspace $(ARGS)

test-long: ## crash states, kills, flipped bits, random files, names and graphs, far more than in `test`; without ARGS="name" also the runner of bench-peers
	@scripts/set-up.sh
	WARMSTART_TEST_LONG=1 cargo test -p warmstart-graph -p warmstart-gpu -p warmstart-checkpoint -p warmstart $(ARGS)
	$(if $(ARGS),,$(PEERS_TESTS))

doc: ## build the API documentation, warnings denied
	@scripts/set-up.sh
	RUSTDOCFLAGS="$$RUSTDOCFLAGS -D warnings" cargo doc --workspace --no-deps

bench: ## run the benchmarks (ARGS="name" picks some)
	@scripts/set-up.sh
	cargo bench -p warmstart-benches -- $(ARGS)

PEERS = warmstart meganeura burn runner

# In the profile of what measures, so that nothing is built twice. It needs no arm.
PEERS_TESTS = cargo test --release --manifest-path benches/peers/Cargo.toml -p peers-runner

bench-peers: ## run the same work in warmstart, meganeura, burn and PyTorch; writes RESULTS.md in benches and in benches/peers
	@scripts/set-up.sh
	@benches/peers/set-up.sh
	@# Each by itself, so that no arm gets features of a dependency that only another asks for.
	cd benches/peers && for program in $(PEERS); do cargo build --release -p peers-$$program || exit; done
	$(PEERS_TESTS)
	cd benches/peers && target/release/peers-runner $(ARGS)

bench-peers-build: ## measure build time and size of each arm of bench-peers, or of ARGS="warmstart", from nothing
	@scripts/set-up.sh
	benches/peers/build-costs.sh $(ARGS)

fmt: ## format all Rust files
	@scripts/set-up.sh --lint
	cargo fmt --all

adapter: ## make sure there is an adapter (a software one if need be) and say which one is used
	@scripts/set-up.sh --verbose
	@cargo run -q -p warmstart-gpu --example adapter
