# make demo   set up what it needs and segment a real chest CT     (needs Python 3.10-3.13 and a network the first time)
# make app    set up what it needs and open the tool in a browser, on a real chest CT
# make test   set everything up and run every test
# make setup  set everything up
# make lint   ruff and mypy
# make bench  accuracy and speed beside other methods: about an hour on 2 cores; interrupted, it goes on where it stopped
# make experiment   what each part of the method is worth: about an hour on 2 cores; interrupted, it goes on
# make clean  take away everything that make made
PYTHON ?= python3
BIN := .venv/bin
# A marker for each set of packages that is installed; with the whole set, the others are there too. An environment that
# has no pip (making it was interrupted, or its Python is gone) is made anew.
WHOLE := .venv/.installed
DEMO := .venv/.installed-demo
APP := .venv/.installed-app

# Bytecode is kept, as it is where the tool is used: without it, every process compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo app test lint bench experiment clean
.DEFAULT_GOAL := test
# Two installations into one environment at a time would break it.
.NOTPARALLEL:

setup: $(WHOLE)

$(WHOLE): EXTRAS := dev
$(DEMO): EXTRAS := demo,slicer
$(APP): EXTRAS := app
$(WHOLE) $(DEMO) $(APP): pyproject.toml
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	    || { echo "PWSegmentation needs Python 3.10 to 3.13; choose one with: make PYTHON=python3.12 ..."; exit 2; }; \
	  echo "$(PYTHON) -m venv --clear .venv"; $(PYTHON) -m venv --clear .venv; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	touch $@ $(if $(filter $(WHOLE),$@),$(DEMO) $(APP))

demo: $(DEMO)
	$(BIN)/pwseg demo -o demo-output

app: $(APP)
	$(BIN)/pwseg app sample

# Of the tests of the app those that start a server each.
SERVERS := $(patsubst %,Testing/App/test_%.py,ending hostile_files keeping)

# Three thirds of the tests beside each other: those of app and panel mostly wait. With one thread each, for threads that
# spin for a core the others have make it take several times as long. What measures time comes last, alone.
test: setup
	@logs=$$(mktemp -d); trap 'rm -rf "$$logs"' EXIT; \
	echo "Three thirds beside each other; what the first and the second say comes at the end. The third:"; \
	export OMP_NUM_THREADS=1; run="$(BIN)/python -m pytest -m"; \
	$$run "not stopwatch" Testing/Library > "$$logs/1" 2>&1 & first=$$!; \
	{ $$run "not stopwatch" Testing/Slicer; panel=$$?; $$run "not stopwatch" $(SERVERS) && exit $$panel; } \
	  > "$$logs/2" 2>&1 & second=$$!; \
	$$run "not stopwatch" Testing $(addprefix --ignore=,Testing/Library Testing/Slicer $(SERVERS)); failed=$$?; \
	wait $$first || failed=1; wait $$second || failed=1; \
	for log in "$$logs"/*; do echo "Third $${log##*/}:"; cat "$$log"; done; \
	unset OMP_NUM_THREADS; echo "What measures time:"; \
	$$run stopwatch Testing || failed=1; \
	exit $$failed

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread each, so that no method gains from the cores it happens to find idle.
bench: export OMP_NUM_THREADS = 1
bench: export OPENBLAS_NUM_THREADS = 1
bench: setup
	test -f benchmark-output/speed.json || $(BIN)/python -m Testing.Benchmarks
	$(BIN)/pwseg benchmark -o benchmark-output/results.json --speed benchmark-output/speed.json

experiment: setup
	$(BIN)/pwseg experiment --jobs 2 -o experiment-output

clean:
	rm -rf .venv build dist demo-output benchmark-output experiment-output flags-output *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
