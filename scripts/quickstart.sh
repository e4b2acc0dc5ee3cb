#!/usr/bin/env bash
# From a fresh machine to a report: environment, then the main job on the embedded world, then a page about its run.
# Arguments are overrides of the recipe: bash scripts/quickstart.sh seed=1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
environment report
rl-distill train experiments/quickstart.yaml "$@"
run="$(python -c 'import sys
from rl_distill import load_recipe
print(load_recipe("experiments/quickstart.yaml", sys.argv[1:]).folder)' "$@")"
exec rl-distill report "$run" -o "$run/report.html"
