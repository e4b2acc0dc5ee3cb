"""What is installed is what was tested: setup.py, constraints.txt and the package agree."""

import ast
import json
import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def setup_arguments() -> dict[str, Any]:
    """The arguments that setup.py hands to setuptools, without building anything."""
    script = (
        "import json, runpy, sys, types\n"
        "seen = {}\n"
        "fake = types.ModuleType('setuptools')\n"
        "fake.setup = lambda **arguments: seen.update(arguments)\n"
        "fake.find_packages = lambda include: include\n"
        "sys.modules['setuptools'] = fake\n"
        "runpy.run_path('setup.py')\n"
        "assert 'rl_distill' not in sys.modules, 'setup.py imports the package'\n"
        "print(json.dumps(seen))\n"
    )
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(out.stdout))


ARGUMENTS = setup_arguments()
CORE = [Requirement(text) for text in ARGUMENTS["install_requires"]]
DEV = [Requirement(text) for text in ARGUMENTS["extras_require"]["dev"]]


def test_every_file_of_the_package_that_is_no_module_is_installed() -> None:
    package = ROOT / "rl_distill"
    installed = {path for pattern in ARGUMENTS["package_data"]["rl_distill"] for path in package.glob(pattern)}
    found = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert found == installed


def constraint_lines() -> list[str]:
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    return [line for line in lines if line]


PINS = {canonicalize_name(name): pin for name, pin in (line.split("==") for line in constraint_lines())}


@pytest.mark.parametrize("requirement", CORE + DEV, ids=str)
def test_every_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    pin = PINS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(Version(pin), prereleases=True), f"{requirement} excludes the tested {pin}"


@pytest.mark.parametrize("name", PINS)
def test_constraints_are_closed_under_what_installed_packages_require(name: str) -> None:
    try:
        needed = [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    needed = [need for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    # torch brings its accelerator's own libraries, which differ from machine to machine and which it pins itself.
    missing = [str(need) for need in needed if canonicalize_name(need.name) not in PINS | {"pip": "", "setuptools": ""}]
    assert name == "torch" or not missing, f"{name} needs {missing}"


def test_constraints_are_plain_pins_of_a_registry() -> None:
    for line in constraint_lines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line), f"{line!r} is no plain pin"


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "rl-distill"])
def test_constraints_hold_nothing_that_the_code_does_not_use(name: str) -> None:
    assert name not in PINS


def test_the_version_is_stated_once_and_read_without_importing() -> None:
    tree = ast.parse((ROOT / "rl_distill" / "__init__.py").read_text())
    assignments = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"]
    (stated,) = [ast.literal_eval(node.value) for node in assignments]
    assert ARGUMENTS["version"] == stated
    with suppress(PackageNotFoundError):  # the tests also run from a bare checkout
        assert version("rl_distill") == stated


def test_the_command_calls_the_command_line_module() -> None:
    assert ARGUMENTS["entry_points"] == {"console_scripts": ["rl-distill = rl_distill.cli:main"]}


def test_the_core_needs_no_cluster_accelerator_or_tracking_service() -> None:
    names = {canonicalize_name(requirement.name) for requirement in CORE}
    assert not names & {"ray", "deepspeed", "vllm", "trl", "wandb"}


@pytest.mark.parametrize("extra", ["trl", "wandb", "curation"])
def test_dev_brings_what_the_tests_of_an_extra_need(extra: str) -> None:
    assert set(ARGUMENTS["extras_require"][extra]) <= set(ARGUMENTS["extras_require"]["dev"])


def test_every_file_of_the_package_that_is_no_module_is_installed_with_it():
    package = ROOT / "rl_distill"
    stated = {path for pattern in ARGUMENTS["package_data"]["rl_distill"] for path in package.glob(pattern)}
    assert stated == {path for path in package.rglob("*.*") if path.is_file() and path.suffix not in (".py", ".pyc")}
