# Everything from here: `make help`. Needs git, make and Python 3.11 or later; written for GNU make 3.81 and later.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first of these that is new enough; PYTHON=/path/to/python names another.
PYTHONS := python3 python3.13 python3.12 python3.11 python3.14 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PORT ?= 5000

# A virtual environment holds absolute paths: that of a project that was moved or copied is of no use, and is made anew
# where one is needed.
MOVED := $(shell made=$$(cat $(INSTALLED) 2>/dev/null); [ -z "$$made" ] || [ "$$made" -ef '$(CURDIR)' ] || echo .moved)

# TORCH=cpu takes PyTorch's builds without CUDA, which are a tenth of the size, from its public index.
ifeq ($(TORCH),cpu)
EXTRA_INDEX := --extra-index-url https://download.pytorch.org/whl/cpu
else ifneq ($(TORCH),)
$(error TORCH=$(TORCH) is unknown: write TORCH=cpu, or leave it out)
endif

.PHONY: help
help: ## what can be made
	@grep -h -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /\1|/' | \
	  awk -F '|' '{ printf "  make %-11s %s\n", $$1, $$2 }'

.PHONY: setup
setup: $(INSTALLED) ## the virtual environment with exactly the versions of requirements.lock; TORCH=cpu: PyTorch without CUDA

# The stamp is made last: a set-up that was interrupted is done again.
$(INSTALLED): requirements.lock pyproject.toml $(MOVED)
	@set -eu; \
	if [ -n '$(MOVED)' ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  python='$(PYTHON)'; \
	  if [ -z "$$python" ]; then \
	    for candidate in $(PYTHONS); do \
	      if "$$candidate" -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	    done; \
	  fi; \
	  if [ -z "$$python" ] || ! "$$python" -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then \
	    echo "error: vidpred needs Python 3.11 or later ($${python:-all of $(PYTHONS)}: missing or older):" \
	      "install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	  fi; \
	  if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	    echo "error: $$python has no venv module: install it (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; \
	  fi; \
	  "$$python" -m venv --clear $(VENV); \
	fi
	@echo "set-up: installing requirements.lock into $(VENV), a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(EXTRA_INDEX) -r requirements.lock
	@# compat: by path, so that a script beside the clone imports the package, not the folder `vidpred` of the same name
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  --config-settings editable_mode=compat -e .
	@echo '$(CURDIR)' >$@

.moved: ;

# DVC restores what `register` told, not the registry: in a fresh clone it may lack the model.
REGISTERED := PATH="$(CURDIR)/$(BIN):$$PATH"; vidpred register --if-missing >/dev/null; code=$$?; vidpred summary && exit $$code

.PHONY: repro
repro: $(INSTALLED) ## the whole pipeline: from the clips to a registered model and a report; what is done is not done again
	@$(BIN)/vidpred check
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@$(REGISTERED)

# In copies of their own, so that params.yaml and what was made by it stay: code and data as they are here, and a preset.
CLASSIFY := runs/repro-classify
LOCALISE := runs/bench-localise

# $(1): the folder, $(2): the preset, $(3): what is done there
define in_a_copy
@mkdir -p runs
@[ -e $(1)/.git ] || { git clone --quiet --shared --no-checkout . $(1) && git -C $(1) reset --quiet; }
@rm -rf $(addprefix $(1)/,vidpred stages datasets presets)
@git ls-files -co --exclude-standard -z -- . ':!results' ':!dvc.lock' | tar --null -T - -cf - | tar -xf - -C $(1)
@cd $(1) && PATH="$(CURDIR)/$(BIN):$$PATH" && export PATH VIDPRED_HOME="$${VIDPRED_HOME:-$(CURDIR)/runs}" && \
  dvc config --quiet --local cache.dir $(CURDIR)/.dvc/cache && \
  vidpred preset $(2) >/dev/null && vidpred check && $(3)
endef

.PHONY: repro-classify
repro-classify: $(INSTALLED) ## the whole pipeline on moving shapes that are classified, in runs/repro-classify; the project's own outputs stay
	$(call in_a_copy,$(CLASSIFY),moving_shapes,dvc repro && { $(REGISTERED); })
	@echo "from here: $(CLASSIFY)/models/trained and $(CLASSIFY)/report/index.html"
	@echo "next: vidpred classify models:/vidpred-classify@champion cat.gif"

.PHONY: test
test: $(INSTALLED) ## unit and end-to-end tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m "not slow"

.PHONY: test-slow
test-slow: $(INSTALLED) ## kill drills, clusters, experiments, a fresh environment
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m slow

.PHONY: check
check: $(INSTALLED) ## format, lint, types and the import contract
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: $(INSTALLED) ## formats the code and mends what the linter can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

.PHONY: bench-data
bench-data: $(INSTALLED) ## how fast the data layer is, beside what one would use instead: some ten minutes; BENCH=--quick
	@$(BIN)/python -m benchmarks.data $(BENCH)

.PHONY: bench-train
bench-train: $(INSTALLED) ## how fast training is, beside the same networks in plain PyTorch: some two minutes; BENCH=--quick
	@$(BIN)/python -m benchmarks.train $(BENCH)

.PHONY: bench-tune
bench-tune: $(INSTALLED) ## what a sweep costs beside its trials: some twenty minutes; BENCH=--quick
	@$(BIN)/python -m benchmarks.tune $(BENCH)

.PHONY: bench-serve
bench-serve: $(INSTALLED) ## what the page's server answers under load, beside a plain one: some four minutes; BENCH=--quick
	@$(BIN)/python -m benchmarks.serve $(BENCH)

.PHONY: bench-predict
bench-predict: $(INSTALLED) ## how fast prediction is, one and many, beside what one would do instead: some five minutes; BENCH=--quick
	@$(BIN)/python -m benchmarks.predict $(BENCH)

.PHONY: bench-classify
bench-classify: $(INSTALLED) ## what every classifier learns of the bundled shapes: some half an hour; BENCH='--only c3d'
	@$(BIN)/python -m benchmarks.classifiers $(BENCH)

.PHONY: bench-pretrain
bench-pretrain: $(INSTALLED) ## what predicting first is worth to a classifier of few labels: some fifteen minutes
	@$(BIN)/python -m benchmarks.few_labels $(BENCH)

.PHONY: bench-localise
bench-localise: $(INSTALLED) ## how well actions are found in long videos: trains in runs/bench-localise, then looks; some six minutes; BENCH=--quick
	$(call in_a_copy,$(LOCALISE),untrimmed_shapes,dvc repro evaluate)
	@$(BIN)/python -m benchmarks.localise $(LOCALISE)/models/trained $(BENCH)

# Two learning rates and two seeds make three trainings of each model.
LEADERBOARD ?= --steps 150 --seeds 2

.PHONY: leaderboard
leaderboard: $(INSTALLED) ## every model under one short budget, side by side on one page; LEADERBOARD='--minutes 10'
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro --quiet split
	@$(BIN)/vidpred leaderboard $(LEADERBOARD)

.PHONY: ui
ui: $(INSTALLED) ## the MLflow UI on this machine only; PORT=5000
	@$(BIN)/vidpred ui --port $(PORT)

.PHONY: lock
lock: $(INSTALLED) ## compiles requirements.lock anew from the ranges in pyproject.toml
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh .ci/lock

.PHONY: clean
clean: $(INSTALLED) ## frees what no output needs; asks first
	@$(BIN)/vidpred clean
