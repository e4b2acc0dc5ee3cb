# shellcheck shell=bash
# What must be alike on all hosts of a cluster, before anything of Ray starts there: sourced by the other scripts, or called with a
# command that is to run with it:
#     bash scripts/launch/ray_environment.sh rl-distill train RECIPE cluster.name=ray cluster.address=HOST:PORT
# The Python environment is $RL_DISTILL_VENV (default .venv in the repository); where there is none, as in a container, rl-distill
# must be on PATH. What only a run's own workers need (HF_*, RL_DISTILL_*, threads) the driver hands to them itself.

_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
_venv="${RL_DISTILL_VENV:-.venv}"
case "$_venv" in /*) ;; *) _venv="$_root/$_venv" ;; esac
if [ -x "$_venv/bin/rl-distill" ]; then
    export VIRTUAL_ENV="$_venv" PATH="$_venv/bin:$PATH"
elif [ -n "${RL_DISTILL_VENV:-}" ] || ! command -v rl-distill >/dev/null; then
    printf 'launch: %s has no rl-distill; name an environment that all hosts see in RL_DISTILL_VENV\n' "$_venv" >&2
    exit 2
fi

# With a token nobody else on the network can give the cluster work; hosts that disagree about the mode do not find together.
if [ -z "${RAY_AUTH_MODE:-}" ]; then
    if [ -n "${RAY_AUTH_TOKEN:-}${RAY_AUTH_TOKEN_PATH:-}" ]; then RAY_AUTH_MODE=token; else RAY_AUTH_MODE=disabled; fi
fi
export RAY_AUTH_MODE
export RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}"
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="${RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO:-1}" # a worker that was given no GPU sees none

[ "${BASH_SOURCE[0]}" != "$0" ] || exec "$@"
