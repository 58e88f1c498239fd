# Two commands, on a fresh Linux machine with Python 3.11 or newer:
#   make demo    environment, install, and the main job on a simulated archive
#   make test    environment, install, and everything that must hold
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One torch and BLAS thread per process: tests and workers share the cores by processes.
export OMP_NUM_THREADS ?= 1
# Where it is set (in images of containers), every process of the tests would compile lspipe anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check unit test-lowest install format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints-cpu.txt lspipe/__init__.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lspipe needs Python 3.11 or newer, this is %s; try make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints-cpu.txt --editable '.[test]'
	touch $@

demo: install
	$(BIN)/lspipe demo runs/demo-archive
	$(BIN)/lspipe run runs/demo-archive/demo.yaml --output runs/demo
	@echo "next: open runs/demo/report.html in a browser, or runs/demo/project.qgz in QGIS"

test: check unit

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# By the groups and in the order of tests/conftest.py. Three processes, as tests wait for others.
SHARED := --numprocesses 3 --dist loadfile --no-loadscope-reorder

unit: install
	$(BIN)/python -m pytest $(SHARED) --durations 25

# Property tests with new examples each time, ten times as many; one that fails says how to repeat it.
.PHONY: test-deep
test-deep: install
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest -m hypothesis $(SHARED) --timeout 3600

# The oldest packages that pyproject.toml allows, so that its lower bounds are true. All but torch,
# which stays the tested one: for Linux, PyPI has 2.6 as a CUDA build of several GB only. Old releases
# warn of what came after them; what is said of lspipe's own code fails in `unit`.
LOWEST ?= .venv-lowest
OF_THEIR_TIME := $(foreach kind,Deprecation PendingDeprecation Future,-W ignore::$(kind)Warning)

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest tests/unit $(SHARED) $(OF_THEIR_TIME)

$(LOWEST)/.installed: pyproject.toml constraints-cpu.txt .ci/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) .ci/lowest.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/lowest.txt --editable '.[test]'
	touch $@

# Against real servers on loopback; skips those that are not installed (.ci/run installs them).
.PHONY: services
services: install
	$(BIN)/python -m pytest tests/services

# docs/ as a site, in build/site. A warning (a broken link, a page outside the menu) is an error.
.PHONY: docs
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints-cpu.txt --editable '.[docs]'
	touch $@

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(LOWEST) .venv-services .venv-signing .venv-gdal .venv-browser .venv-deploy .venv-azurite build runs/demo runs/demo-archive
