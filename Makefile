# make train | test | test-more | test-full | test-peers | lint | docs | studies: each does its own set-up, once.
PYTHON ?= python3
ACCELERATOR ?= cpu
WORKDIR ?= runs/dates
STUDIES ?= runs/studies
VENV := .venv
RUN := $(VENV)/bin/python
TEST := $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PLATFORM := $(filter-out cpu,$(ACCELERATOR))
comma := ,
# Huge pages for the tests; commands ask for them themselves, see experiments/cli/huge_pages.py.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: train test test-more test-full test-peers lint docs studies clean
.DELETE_ON_ERROR:

train: $(VENV)/.experiments-$(ACCELERATOR)
	$(RUN) -m experiments.train --config=configs/dates.py --workdir=$(WORKDIR) $(FLAGS)

test: $(VENV)/.dev-$(ACCELERATOR)
	$(TEST) -m "not more and not full and not peers" $(FLAGS)

test-more: $(VENV)/.dev-$(ACCELERATOR)
	$(TEST) -m "more and not full and not peers" $(FLAGS)

test-full: $(VENV)/.dev-$(ACCELERATOR)
	$(TEST) -m full $(FLAGS)

test-peers: $(VENV)/.peers-$(ACCELERATOR)
	$(TEST) -m peers $(FLAGS)

docs: $(VENV)/.docs-$(ACCELERATOR)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --clean --quiet
	@echo "build/site/index.html"

studies: $(VENV)/.experiments-$(ACCELERATOR)
	$(RUN) -m experiments.studies all --preview --workdir=$(STUDIES) $(FLAGS)

lint: $(VENV)/.dev-$(ACCELERATOR)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12"; exit 2; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)

# A set-up is redone when the requirements change; its stamp says for which extras and accelerator it was done.
$(VENV)/.%-$(ACCELERATOR): pyproject.toml constraints.txt | $(VENV)/bin/python
	@case "$(ACCELERATOR)" in cpu|cuda|tpu) ;; \
	  *) echo "ACCELERATOR=$(ACCELERATOR) is not known; it is one of cpu, cuda, tpu"; exit 2;; esac
	@echo "installing transformer[$*] for $(ACCELERATOR)"
	@$(INSTALL) --editable ".[$*$(if $(PLATFORM),$(comma)$(PLATFORM))]"
	@touch $@

clean:
	rm -rf $(VENV) .cache build dist *.egg-info
