# `make demo` and `make test` work on a fresh machine: they build .venv first, once.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
OUT    ?= out/demo
WORKERS ?= 2
# Nets of tables take tiny steps: a second thread brings little, and on a busy machine it costs
# far more than it brings. `make demo OMP_NUM_THREADS=2` overrides.
THREADS = $(or $(OMP_NUM_THREADS),1)

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench docs notebooks trust coverage peers clean

help:           ## what there is to make
	@grep -E '^[a-z]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp makes a second call instant; a changed requirement installs again.
$(STAMP): pyproject.toml constraints.txt | $(PY)
	$(PY) -m pip install --quiet -e '.[dev]' -c constraints.txt
	@touch $@

demo: $(STAMP)  ## train, explain, judge: breast cancer, or DATA=file.csv TARGET=column
	OMP_NUM_THREADS=$(THREADS) $(PY) -m bench.demo $(if $(DATA),--data "$(DATA)") $(if $(TARGET),--target "$(TARGET)") --out "$(OUT)"

test: $(STAMP)  ## the tests; the slow ones too when CI is set; ARGS="-k word" narrows
	OMP_NUM_THREADS=$(THREADS) $(PY) -m pytest -n $(WORKERS) --dist loadfile $(if $(CI),-m "slow or not slow") $(ARGS)

lint: $(STAMP)  ## ruff (rules and format) and pyright
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

bench: $(STAMP) ## speed suites beside the stored run; STORE=1 stores this one
	@mkdir -p out/speed
	OMP_NUM_THREADS=$(THREADS) $(PY) -m pytest -o addopts="-p no:dash" --benchmark-only --benchmark-json=out/speed/speed.json bench/speed $(ARGS)
	$(PY) -m bench.cli report out/speed
	$(if $(STORE),$(PY) -m bench.speed_history out/speed/speed.json docs/results/speed.json)

$(VENV)/.docs: $(STAMP)
	$(PY) -m pip install --quiet -e '.[docs]' -c constraints.txt
	@touch $@

docs: $(VENV)/.docs ## the site, warnings as errors, into site/
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

notebooks: $(VENV)/.docs ## run the tutorials anew; they keep what they printed
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" OMP_NUM_THREADS=$(THREADS) $(PY) -m nbconvert --to notebook --execute --inplace docs/tutorials/*.ipynb

trust: $(STAMP) ## the checks of docs/trust.md at their full counts; writes its table; resumable
	WORKERS=$(WORKERS) OMP_NUM_THREADS=$(THREADS) $(PY) -m tests.trust

coverage: $(STAMP) ## branch coverage of the tests, processes they start included; ARGS="..." as for test
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=$(THREADS) $(PY) -m coverage run -m pytest $(ARGS)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report --skip-covered --sort=cover

# The newest shap and shapiq need Python 3.12: the first of these that runs, else what PYTHON allows.
PEERS_PYTHON ?= $(firstword $(foreach p,python3.12 python3.13 python3.14,$(if $(shell $(p) -c 'print(1)' 2>/dev/null),$(p))) $(PYTHON))
PEERS := .venv-peers

$(PEERS)/.installed: pyproject.toml constraints.txt
	@$(PEERS_PYTHON) -c 'import sys; v = sys.version_info; print("peers: Python %d.%d" % v[:2] + ("" if v >= (3, 12) else ", too old for the newest shap and shapiq: taking the newest it allows (PEERS_PYTHON=/path/to/python3.12 chooses)"))'
	test -x $(PEERS)/bin/python || $(PEERS_PYTHON) -m venv $(PEERS)
	grep -E '^torch==' constraints.txt > $(PEERS)/torch.txt
	$(PEERS)/bin/python -m pip install --quiet --upgrade -e . shap shapiq captum lightgbm xgboost -c $(PEERS)/torch.txt
	@touch $@

peers: $(PEERS)/.installed ## the newest shap, shapiq, captum in .venv-peers (gigabytes), and ours, on one grid
	OMP_NUM_THREADS=$(THREADS) $(PEERS)/bin/python -m bench.estimator_grid --folder out/grid --out out/grid/estimators.md $(ARGS)

clean:          ## remove what was built and cached; the environment stays
	rm -rf build dist out site .pytest_cache .ruff_cache .benchmarks .hypothesis .coverage* htmlcov
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
