# Each target makes .venv itself when it is stale; python3 with venv and pip is all it starts from.
PYTHON ?= python3
WORKERS ?= 4
BIN := .venv/bin
STAMP := .venv/.installed
DAILY := not benchmark and not soak

.DEFAULT_GOAL := help
.PHONY: help demo up test lint bench soak lock clean

help:
	@echo 'make demo    看一份检查从医院 A 走到医院 B 的医生面前 / watch one study travel, then exit'
	@echo 'make up      启动全部服务 / start everything on this machine'
	@echo 'make test    全部测试 / every test'
	@echo 'make lint    ruff, mypy --strict, import-linter'
	@echo 'make bench   与同类软件对比 / timings beside its peers'
	@echo 'make soak    长时间故障试验 / the long fault runs (HUREN_SOAK=0.1 make soak: a tenth of them)'
	@echo 'make lock    更新依赖锁 / renew requirements.lock (needs uv)'

$(STAMP): requirements.lock pyproject.toml exchange/viewer_package.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Huren needs Python 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo '安装依赖 / installing what requirements.lock lists ...'
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@{ command -v npm >/dev/null && $(BIN)/huren viewer install; } || \
	  echo '未装 OHIF,影像以快速浏览显示;补装:huren viewer install / Without OHIF, images are shown by the quick look; to add it: huren viewer install'
	@touch $@

demo: $(STAMP)
	@$(BIN)/huren demo $(ARGS)

up: $(STAMP)
	@$(BIN)/huren up $(ARGS)

# First what may run side by side, then what measures and so runs alone; ARGS may name tests of one kind only (5).
test: $(STAMP)
	@failed=0; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not alone and $(DAILY)' $(ARGS) \
	  || [ $$? -eq 5 ] || failed=1; \
	$(BIN)/python -m pytest -m 'alone and $(DAILY)' $(ARGS) || [ $$? -eq 5 ] || failed=1; \
	exit $$failed

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m pytest -m benchmark tests/benchmarks $(ARGS)

soak: $(STAMP)
	HUREN_SOAK=$${HUREN_SOAK:-1} $(BIN)/python -m pytest -m '' tests/faults $(ARGS)

lock:
	uv pip compile --universal --generate-hashes --no-header --no-annotate --extra dev --python-version 3.11 -o requirements.lock pyproject.toml

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
