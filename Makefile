# Everything a user runs. `make report` on a fresh clone needs Python >= 3.11, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCKS := $(addsuffix .lock,requirements-build requirements requirements-torch requirements-torch-cpu)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# Stages that run at the same time; two, where it is not given.
export JOBS
BASE ?= origin/main
# The name of a branch may be any text: it reaches the shell as a variable, as it was given, never as part of a command.
override BASE := $(value BASE)
export BASE
COMPARISON := reports/comparison
# What `import skiptrace` offers, and the modules of what its functions take and give.
API := skiptrace skiptrace.circuits.factored skiptrace.mining.vocabulary

.PHONY: report verify pictures ci-report test attack referee check format docs api sbom bench bench-gpu setup clean help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

report: setup  ## reproduce the pipeline, JOBS=2 stages at a time, and render the report
	@echo "==> Reproducing the pipeline; stages whose inputs did not change are skipped"
	@python -m skiptrace.command.repair
	@python -m stages.check
	@python -m skiptrace.command.reproduce
	@echo "==> The report is $(CURDIR)/reports/index.html"

verify: setup  ## hash again what dvc.lock names, here and in DVC's cache; remove what is damaged
	@python -m skiptrace doctor --verify --repair

pictures: setup  ## take the README's pictures from the report, with the system's Chromium
	@python docs/pictures.py

ci-report: report  ## the report, and a comparison with BASE (origin/main): reports/comparison.html, .md
	@rm -f $(COMPARISON).html $(COMPARISON).md
	@# A first run has nothing to be compared with: the page says so, and the run has not failed.
	@python -m skiptrace compare --html $(COMPARISON).html --markdown $(COMPARISON).md -- "$$BASE" 2> $(COMPARISON).log \
	  || { printf '# No comparison with %s\n\n    ' "$$BASE"; tail -n 1 $(COMPARISON).log; } > $(COMPARISON).md
	@cat $(COMPARISON).log >&2; rm -f $(COMPARISON).log
	@printf '==> The comparison with %s is %s\n' "$$BASE" "$(CURDIR)/$(COMPARISON).md"

test: setup  ## lint, types, tests
	@echo "==> Running the tests, and the checks of style and types beside them"
	@said=$$(mktemp); make --no-print-directory check > $$said 2>&1 & check=$$!; python -m pytest; tests=$$?; \
	  wait $$check; checked=$$?; test $$checked = 0 || cat $$said; rm $$said; exit $$((tests | checked))

attack: setup  ## attack with signals, kills, damage and odd inputs, and count what is noticed; hours on two cores
	@python -m tests.attack

referee: setup  ## recompute the headlines of the run here in plain NumPy, from the files alone
	@python -m tests.referee.referee

check: setup  ## lint and types only
	@echo "==> Checking style and types"
	@ruff check --quiet .
	@ruff format --check --quiet . || { echo "make format lays the code out"; exit 1; }
	@mypy --no-error-summary
	@oxlint --format=unix skiptrace/report/templates

format: setup  ## lay the code out
	@ruff check --fix --quiet . ; ruff format --quiet .

measured: report  ## note this run as the one that the README and the tests speak of (docs/measured)
	@rm -rf docs/measured/figures; mkdir docs/measured/figures
	@cp params.yaml reports/metrics.json reports/report.md docs/measured/
	@cp $$(grep -o 'figures/[^)]*svg' reports/report.md | sort -u | sed 's|^|reports/|') docs/measured/figures/
	@python -m skiptrace.command.reproduce --note

processors: setup  ## note the bytes that this processor gives, and those that QEMU can be, for the tests
	@python -m tests.reproducibility

docs: setup  ## write the pages of docs/ that come from declarations in the code
	@python docs/reference.py

api: setup  ## write the pages of the Python interface from its docstrings: docs/api/index.html; needs no network
	@python -m pdoc --no-show-source --output-directory docs/api $(API) 2> docs/api.log || { cat docs/api.log >&2; exit 1; }
	@rm docs/api.log; echo "==> The pages are $(CURDIR)/docs/api/index.html"

sbom: setup  ## list every installed package with its version, licence and requirements: reports/installed.json
	@python -m pip --disable-pip-version-check inspect > reports/installed.json
	@echo "==> The list is $(CURDIR)/reports/installed.json"

bench: setup  ## measure speed and memory beside what others use; about ten minutes
	@$(INSTALL) --require-hashes --no-deps -r requirements-bench.lock || echo "without FAISS"
	@python -m benchmarks

bench-gpu: setup  ## measure mining and training on an accelerator (SKIPTRACE_DEVICE, cuda by default)
	@python -m benchmarks.gpu

setup: $(INSTALLED)  ## create .venv and install the locked dependencies

$(INSTALLED): $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python >= 3.11 is needed; try make PYTHON=python3.11")'
	@echo "==> Installing the locked dependencies into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) --require-hashes -r requirements-build.lock
	@$(INSTALL) --require-hashes --no-build-isolation -r requirements.lock
	@$(INSTALL) --require-hashes --no-deps -r requirements-torch-cpu.lock 2> /dev/null \
	  || { echo "==> No build of torch for the CPU alone where pip looks; taking PyPI's"; \
	       $(INSTALL) --require-hashes --no-deps -r requirements-torch.lock; }
	@$(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

clean:  ## remove the environment and what was reproduced; your text in data/raw and DVC's cache stay
	rm -rf $(VENV)
	find data -mindepth 1 -maxdepth 1 ! -name raw ! -name README.md ! -name .gitignore -exec rm -rf {} +
	git checkout --quiet -- data/features data/rules
	rm -rf docs/api reports/installed.json reports/index.html reports/report.md reports/figures $(COMPARISON).html $(COMPARISON).md
