#!/usr/bin/env bash
# Hands a run to a Ray cluster that runs already, by the address of its dashboard, and shows what it prints:
#     submit_job.sh http://HEAD:8265 RECIPE run_dir=/shared/runs/NAME [key=value ...]
# RECIPE and run_dir are paths on the cluster's hosts, so give them in full. The head must have been started with
# --include-dashboard=true, and both sides need `pip install 'ray[default]'` in the version of constraints.txt.
set -euo pipefail
launch="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

refuse() {
    printf 'submit_job.sh: %s\n' "$*" >&2
    exit 2
}
dashboard="${1:-}"
recipe="${2:-}"
[[ "$dashboard" =~ ^https?://[^/]+$ ]] || refuse "say where the dashboard is: http://HEAD:8265"
[[ "$recipe" == /* ]] || refuse "say what to train, with its full path on the cluster's hosts"
shift 2
# shellcheck source=scripts/launch/ray_environment.sh
source "$launch/ray_environment.sh"
exec ray job submit --address "$dashboard" --runtime-env "$launch/runtime_env.yaml" -- \
    rl-distill train "$recipe" "$@" cluster.name=ray cluster.address=auto
