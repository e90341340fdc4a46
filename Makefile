# make demo   runs the whole line on a simulated shop (or FILE=orders.parquet PRESET=online-retail)
# make test   runs every check that can run on this machine
# make chaos  kills and breaks things for MINUTES=60, with an oracle outside (ARGS="--cells sqlite"; docs/reliability.md)
# make faults attacks the doors, breaks the product on purpose, and storms every cell (SHORT=1: those of `make test`, ARGS="--only storm")
# make bench  measures speed and memory beside their targets (SIZE=1000000 customers; BENCH_SERVER=postgres://…)
# make quality  trains the algorithms on real data and writes figures with intervals (TIERWISE_DATA; ARGS="--quick"; docs/learning.md)
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
QUEUES ?= inbound,score,insight,train,outbound,default
DEVICE ?= auto
CONCURRENCY ?= 2
PORT   ?= 8000
SIZE   ?= 50000

comma := ,
empty :=
space := $(empty) $(empty)
# Queues carry the installation's prefix, if it has one.
NAMED  := $(subst $(space),$(comma),$(addprefix $(CELERY_QUEUE_PREFIX),$(subst $(comma),$(space),$(QUEUES))))

.DEFAULT_GOAL := help
.PHONY: help demo test chaos faults bench quality web worker beat consumer migrate lint types contracts licences messages clean

help:
	@grep -E '^# make' Makefile | sed 's/^# //'

$(VENV)/.runtime: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $(VENV)/.runtime $@

demo: $(VENV)/.runtime
	$(BIN)/python manage.py demo $(if $(FILE),--file "$(FILE)") $(if $(PRESET),--preset "$(PRESET)") \
		$(if $(MAPPING),--mapping "$(MAPPING)") $(if $(CUSTOMERS),--customers $(CUSTOMERS)) $(if $(CHECK),--check) --port $(PORT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --reruns 1 $(ARGS)

bench: $(VENV)/.runtime
	$(BIN)/python -m benchmarks --customers $(SIZE) $(if $(ONLY),--only $(ONLY)) $(if $(FRESH),--fresh)

quality: $(VENV)/.runtime
	$(BIN)/python -m benchmarks.quality $(ARGS)

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),60) $(ARGS)

faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults $(if $(SHORT),--short) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

migrate: $(VENV)/.runtime
	$(BIN)/python manage.py migrate

web: $(VENV)/.runtime
	$(BIN)/granian --interface wsgi --host 127.0.0.1 --port $(PORT) --workers 1 --blocking-threads 512 config.wsgi:application

# One worker process with beat by default; several machines: QUEUES=train,score DEVICE=cuda, and `make beat` once.
worker: $(VENV)/.runtime
	DEVICE=$(DEVICE) CONCURRENCY=$(CONCURRENCY) $(BIN)/celery -A workers.celery worker \
		--queues $(NAMED) --loglevel INFO $(if $(findstring default,$(QUEUES)),--beat)

beat: $(VENV)/.runtime
	$(BIN)/celery -A workers.celery beat --loglevel INFO

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy config workers crm_integration segmentation

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

# Reads the queues of connections that have one (docs/queues.md).
consumer: $(VENV)/.runtime
	$(BIN)/python manage.py consume

licences: $(VENV)/.dev
	$(BIN)/python -m tests.support.licences

messages: $(VENV)/.dev
	$(BIN)/python -m tests.support.messages

clean:
	rm -rf var staticfiles $(VENV)
