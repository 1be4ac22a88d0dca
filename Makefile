# Each target works alone on a fresh Debian 12 (root or sudo), installs what it needs, and is quick the second time.
bin := .venv/bin
.PHONY: setup check test demo clients soak bench docs format lock clean

setup:
	@tools/setup.sh

format: setup
	$(bin)/ruff format -q .
	$(bin)/ruff check -q --fix .

check: setup
	$(bin)/ruff format --check -q .
	$(bin)/ruff check -q .
	$(bin)/mypy
	$(bin)/lint-imports --no-cache

test: setup
	@[ "$$(id -u)" = 0 ] || sudo -v  # some tests mount file systems, by "sudo -n"
	$(bin)/python -m pytest -q -n $${JOBS:-4} -m "not soak"

clients: setup
	$(bin)/python tools/judge.py
	$(bin)/python -m pytest -q -n0 tests/judges/guide_lines.py

demo: setup
	$(bin)/hyperexport demo

soak: setup
	$(bin)/python -m pytest -q -s -m soak --timeout=7200

bench: setup
	$(bin)/python bench/transfer.py

docs: setup
	$(bin)/python tools/support.py
	$(bin)/python tools/errorpages.py
	$(bin)/pdoc -o site/api hypersdk

lock:
	$(bin)/python -m pip install -q uv
	$(bin)/uv pip compile -q pyproject.toml --extra emulator --extra dev --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate --python-version 3.11 -o requirements/dev.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache site dist
