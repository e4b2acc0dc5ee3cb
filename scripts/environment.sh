# shellcheck shell=bash
# Sourced by the other scripts; defines `environment`, which makes the project's own virtual environment and activates it:
#     environment [EXTRA,...]      extras of setup.py, for example `environment dev`
# $RL_DISTILL_VENV moves the environment (default .venv in the repository), $PYTHON picks the interpreter that creates it.
# Installing happens only when setup.py, constraints.txt, the version, the interpreter or the place has changed.

_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
_venv="${RL_DISTILL_VENV:-.venv}"
case "$_venv" in /*) ;; *) _venv="$_root/$_venv" ;; esac

_say() { printf 'environment: %s\n' "$*" >&2; }

_runs() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

_find_python() { # prints the interpreter to create the environment with
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        _runs "$PYTHON" && { printf '%s\n' "$PYTHON"; return 0; }
        _say "PYTHON=$PYTHON is no Python of version 3.11 or later with the venv module; name another one"
        return 1
    fi
    for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
        _runs "$candidate" && { printf '%s\n' "$candidate"; return 0; }
    done
    _say "no Python of version 3.11 or later with the venv module was found; install one or set PYTHON to its path"
    return 1
}

_wanted() { # prints what an up-to-date environment would have been installed from
    local version
    version="$("$_venv/bin/python" -V 2>/dev/null)" || return 1
    { printf '%s|%s|%s|%s\n' "$_root" "$_venv" "$version" "$1"; cat "$_root/setup.py" "$_root/constraints.txt" "$_root/rl_distill/__init__.py"; } | cksum
}

_stamp() { printf '%s/.installed-%s\n' "$_venv" "${1:-core}"; }

_is_current() {
    local wanted
    wanted="$(_wanted "$1")" && [ "$wanted" = "$(cat "$(_stamp "$1")" 2>/dev/null)" ]
}

_pip() { # quiet; on failure the end of pip's own output and what to do about it
    local log="$_venv/install.log"
    "$_venv/bin/python" -m pip install --disable-pip-version-check --no-input -c "$_root/constraints.txt" "$@" >"$log" 2>&1 && return 0
    tail -n 15 "$log" >&2
    _say "pip failed (whole output: $log); the pinned versions in constraints.txt were tested on Python 3.11, this is" \
        "$("$_venv/bin/python" -V): if a pin does not exist for it, remove $_venv and set PYTHON to a Python 3.11"
    return 1
}

_create() {
    local python
    "$_venv/bin/python" -m pip --version >/dev/null 2>&1 && return 0
    if [ -e "$_venv" ] && [ ! -e "$_venv/pyvenv.cfg" ] && [ -n "$(ls -A "$_venv" 2>&1)" ]; then
        _say "$_venv exists and is no virtual environment; remove it or set RL_DISTILL_VENV to another folder"
        return 1
    fi
    python="$(_find_python)" || return 1
    _say "creating $_venv with $("$python" -V)"
    "$_venv/bin/python" -V >/dev/null 2>&1 || rm -f "$_venv"/bin/python* # links to an interpreter that is gone
    "$python" -m venv "$_venv"
}

_install() {
    local extras="$1" wanted
    _is_current "$extras" && return 0 # another process was faster
    _create || return 1
    _say "installing torch (minutes the first time)"
    _pip torch || return 1
    _say "installing rl_distill${extras:+ with $extras}"
    _pip -e "$_root${extras:+[$extras]}" || return 1
    wanted="$(_wanted "$extras")" && printf '%s\n' "$wanted" >"$(_stamp "$extras")"
    _say "ready in $_venv"
}

_locked() { # runs a command while no other process installs into the same environment
    local lock="$_venv.lock" status=0
    mkdir -p "$(dirname "$_venv")"
    if command -v flock >/dev/null 2>&1; then
        (
            flock 9
            "$@" 9>&-
        ) 9>"$lock"
        return
    fi
    until mkdir "$lock.d" 2>/dev/null; do
        if [ -s "$lock.d/pid" ] && ! kill -0 "$(cat "$lock.d/pid")" 2>/dev/null; then
            rm -rf "$lock.d" # its owner is gone
        else
            sleep 1
        fi
    done
    printf '%s\n' "$$" >"$lock.d/pid"
    "$@" || status=$?
    rm -rf "$lock.d"
    return "$status"
}

environment() {
    local extras="${1:-}"
    _is_current "$extras" || _locked _install "$extras" || return 1
    export VIRTUAL_ENV="$_venv" PATH="$_venv/bin:$PATH"
    unset PYTHONHOME
}
