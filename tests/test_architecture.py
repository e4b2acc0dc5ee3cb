"""Who may import whom, where the heavy libraries enter, and how large things may grow: the rules as data."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rl_distill"
FILES = sorted(PACKAGE.rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 400, 60

# A layer is a folder or a file of the package's top. It may import itself and what stands here, nothing else of ours.
GROUND = {"errors", "seeding", "sealing", "trajectory", "coherence", "config", "markdown_table", "frames"}
RECORDS = GROUND | {"text", "records", "probes"}
SAMPLING = RECORDS | {"problems", "rewards", "models", "rollout"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "seeding": set(),
    "sealing": set(),
    "trajectory": set(),
    "markdown_table": set(),
    "frames": {"errors"},
    "coherence": {"trajectory"},
    "config": {"errors"},
    "batch": {"trajectory"},
    "text": GROUND,
    "probes": GROUND,
    "records": GROUND,
    "tracking": {"config", "errors"},
    "problems": RECORDS,
    "algorithms": GROUND | {"batch"},
    "rewards": RECORDS,
    "models": GROUND | {"batch", "text"},
    "rollout": SAMPLING - {"rollout"},
    "learning": RECORDS | {"batch", "models", "algorithms"},
    "evaluation": SAMPLING | {"tracking"},
    "curation": SAMPLING | {"cluster", "tracking"},
    "integrations": SAMPLING - {"rewards"} | {"batch", "algorithms", "learning", "training"},
    "cluster": SAMPLING | {"batch", "algorithms", "learning"},
    # The recipe composes the configuration classes of their owners, those of training among them.
    "recipe": SAMPLING | {"batch", "algorithms", "learning", "evaluation", "curation", "cluster", "tracking", "training"},
    "training": SAMPLING | {"batch", "algorithms", "learning", "evaluation", "cluster", "tracking", "recipe"},
    "doctor": SAMPLING | {"batch", "learning", "cluster", "tracking", "recipe", "training"},
    "planning": SAMPLING | {"batch", "algorithms", "learning", "cluster", "tracking", "recipe", "training"},
    # Finished runs with the planner's formulas, objectives with the learner's own steps, a judge that is asked as a teacher is.
    "analysis": SAMPLING
    | {"batch", "algorithms", "learning", "evaluation", "curation", "cluster", "tracking", "recipe", "training", "planning"},
    # What the folders of runs hold, through those that write and measure them.
    "reporting": RECORDS | {"analysis", "evaluation", "recipe", "tracking", "training"},
    "sweeps": SAMPLING | {"evaluation", "cluster", "tracking", "recipe", "training", "algorithms", "analysis"},
    "commands": RECORDS
    | {"training", "doctor", "planning", "curation", "evaluation", "analysis", "reporting", "tracking", "recipe", "sweeps"},
    "cli": {"__init__", "commands", "errors"},
    "__main__": {"cli"},
}
DOORS = {
    "ray": "cluster/",
    "deepspeed": "learning/deepspeed_learner.py",
    "vllm": "rollout/vllm_",
    "peft": ("models/lora.py", "integrations/"),
    "trl": "integrations/",
    "wandb": "tracking/wandb_tracker.py",
    "math_verify": "rewards/accuracy.py",
    "openai": "curation/openai_teacher.py",
    "jsonschema": "curation/chat_answer.py",
    "datasketch": "curation/near_texts.py",
    "rapidfuzz": "curation/similarity.py",
    "plotly": "reporting/page_text.py",
}
LIBRARIES = {
    "torch", "transformers", "tokenizers", "safetensors", "datasets", "numpy", "pydantic", "omegaconf", "yaml", "pebble", "rich",
    "matplotlib", "pandas", "pyarrow", "huggingface_hub", "accelerate", "pytest", *DOORS,
}  # fmt: skip
FORBIDDEN_WORDS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler", "core", "v2", "new", "my"}
ENTRANCES = ["rl_distill", *(f"rl_distill.{name}" for name in ("recipe", "cli") if (PACKAGE / f"{name}.py").exists())]


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, wherever in it; `from a import b` gives a.b, which may be a module or a name in one."""
    inside = module(path).split(".") + (["__init__"] if path.name == "__init__.py" else [])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = inside[: -node.level] if node.level else []
            yield from (".".join([*start, *filter(None, [node.module]), alias.name]) for alias in node.names)


def target_layer(name: str) -> str:
    """The layer that an imported name of ours belongs to; what the package itself defines is `__init__`."""
    layer_name = name.split(".")[1]
    return layer_name if layer_name in MAY_IMPORT else "__init__"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_imports_only_the_layers_below_it(path: Path) -> None:
    allowed = MAY_IMPORT[layer(path)] | {layer(path)}
    for name in imported(path):
        if name.startswith(f"{PACKAGE.name}.") and name != f"{PACKAGE.name}.__version__":
            assert target_layer(name) in allowed, f"{relative(path)} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_heavy_library_enters_through_its_door_only(path: Path) -> None:
    for name in imported(path):
        door = DOORS.get(name.split(".")[0])
        assert door is None or relative(path).startswith(door), f"{relative(path)} may not import {name}: its door is {door}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nothing_in_the_package_imports_tests_scripts_or_experiments(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & {"tests", "scripts", "experiments"}


def test_files_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        name: {
            target
            for text in imported(path)
            for target in (text, text.rpartition(".")[0])
            if target in MODULES and target != name
        }
        for name, path in MODULES.items()
    }
    # `from a import b` where a.b is a file needs the file, not what the folder's own __init__ imports.
    for name, path in MODULES.items():
        graph[name] -= {text.rpartition(".")[0] for text in imported(path) if text in MODULES}
    TopologicalSorter(graph).prepare()


def test_layers_of_the_table_form_no_circle_but_the_one_of_recipe_and_training() -> None:
    TopologicalSorter({name: below - {"training"} if name == "recipe" else below for name, below in MAY_IMPORT.items()}).prepare()


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_importing_an_entrance_loads_no_heavy_library(entrance: str) -> None:
    heavy = {*DOORS, "transformers", "datasets", "matplotlib", "pandas"} | ({"torch"} if entrance == "rl_distill" else set())
    script = f"import sys, {entrance}; print(*sorted(set(sys.modules) & {heavy!r}))"
    out = subprocess.run([sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_and_its_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or node.lineno) - node.lineno + 1 <= FUNCTION_LINES, f"{relative(path)}: {node.name}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_module_has_a_name_of_its_own_that_says_something(path: Path) -> None:
    for part in path.relative_to(PACKAGE).with_suffix("").parts:
        assert part not in sys.stdlib_module_names | LIBRARIES, f"{part} is also the name of a library"
        assert not set(part.split("_")) & FORBIDDEN_WORDS, f"{part} does not say what is in it"


def test_every_layer_of_the_package_stands_in_the_table() -> None:
    assert {layer(path) for path in FILES} <= set(MAY_IMPORT)
