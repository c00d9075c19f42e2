# What a person types. CI runs `make test` and nothing else (.ci/run).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Variables that tests and the binary read: HYPERSONIC_AP_TYPES, ORT_DYLIB_PATH.
ENV = eval "$$(scripts/env)"
TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: help setup setup-test demo test test-large zoo conformance-triton lint fmt clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: ## install what is missing to build and run
	@scripts/setup

setup-test:
	@scripts/setup --test

demo: setup ## compile, simulate, check and serve models trained on handwritten digits
	@cargo build --release --locked --quiet --bin hypersonic
	@$(ENV); scripts/demo $(TARGET)/release/hypersonic target/demo

lint: setup-test ## format, clippy and dependency rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then \
	  echo 'cargo deny check bans licenses sources'; cargo deny --log-level error check bans licenses sources; \
	else \
	  echo 'skipped: cargo deny (not installed: cargo install --locked cargo-deny)'; \
	fi

test: lint ## everything that CI checks
	cargo test --workspace --doc --locked --quiet
	$(ENV); cargo nextest run --workspace --locked --profile ci

test-large: setup-test ## the large models of the zoo: compiled, emulated, compared with float; time and memory
	@cargo build --release --locked --quiet --bin hypersonic
	$(ENV); "$$HYPERSONIC_PYTHON" examples/models/build.py --large --missing
	$(ENV); "$$HYPERSONIC_PYTHON" examples/models/evaluate.py --hypersonic $(TARGET)/release/hypersonic \
	  --folder target/models --results target/models/results.json

zoo: setup-test ## train all models of the zoo anew, measure them, write docs/zoo.md
	@cargo build --release --locked --quiet --bin hypersonic
	$(ENV); "$$HYPERSONIC_PYTHON" examples/models/build.py
	$(ENV); "$$HYPERSONIC_PYTHON" examples/models/build.py --golden $(TARGET)/release/hypersonic
	$(ENV); "$$HYPERSONIC_PYTHON" examples/models/evaluate.py --hypersonic $(TARGET)/release/hypersonic --page docs/zoo.md

conformance-triton: setup-test ## the server's tests against a real Triton: are they true?
	@scripts/fetch-triton
	$(ENV); "$$HYPERSONIC_PYTHON" -B -m pytest --quiet --tb=short -rs --server triton tests/conformance

fmt: ## format all Rust code
	cargo fmt --all

clean: ## remove what builds and set-up made here
	rm -rf target .venv
