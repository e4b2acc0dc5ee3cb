#!/usr/bin/env bash
# From a fresh machine to a report: environment, then the main job on the embedded world.
# Arguments are overrides of the recipe: bash scripts/quickstart.sh seed=1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
environment
exec rl-distill train experiments/quickstart.yaml "$@"
