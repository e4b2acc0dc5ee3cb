"""Every snippet of the documentation runs: commands and Python in one workspace with small runs, recipes by their loaders."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from doc_snippets import NOT_RUN, PAGES, ROOT, SHOWN, Snippet, commands, header, merged, snippets

from rl_distill import recipe as recipes
from rl_distill.analysis.behavior_judge import BehaviorJudge
from rl_distill.cli import main
from rl_distill.config import parse, read_yaml
from rl_distill.curation.recipe import CurationRecipe
from rl_distill.evaluation.benchmark import Benchmark
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import byte_bpe_tokenizer
from rl_distill.sweeps.settings import Sweep

ALL = [snippet for page in PAGES for snippet in snippets(page)]
TESTED_ELSEWHERE = {"AlgorithmTrainer(": "test_worked_examples.py, in a process of its own"}
CLASSES = {"train": recipes.Recipe, "curate": CurationRecipe, "sweep": Sweep}
DEBUG = (
    "student.model.pretraining.source.problems.num_problems=100",
    "student.model.pretraining.source.groups_per_step=1",  # as many steps, for pages name some by their number
    "stages.sft.source.problems.num_problems=32",
    "stages.redi.source.problems.num_problems=64",
    "evaluation.problems.num_problems=8",
    "tracking.console=quiet",
)
QUICK = (
    "student.model.pretraining.steps=20",
    "student.model.pretraining.source.problems.num_problems=640",
    "student.model.pretraining.source.groups_per_step=32",
    *(f"stages.{name}.source.problems.num_problems=32" for name in ("sft", "redi", "redi_alpha0")),
    *(f"stages.{name}.source.prompts_per_step=4" for name in ("grpo", "sft_grpo")),
    *(f"stages.{name}.max_generated_tokens=600" for name in ("grpo", "sft_grpo")),
    "evaluation.problems.num_problems=8",
    "tracking.console=quiet",
    "tracking.trajectories_every=1",
)
SMALLER = {"experiments/debug/redi.yaml": DEBUG, "experiments/quickstart.yaml": QUICK}  # the same commands, in seconds
MORE = {
    "evaluate": ["--problems", "3", "--samples", "2"],
    "curate": ["problems.0.num_problems=12"],
}
FOUND = {"doctor": 1}  # exit code where the machine lacks something


def name_of(snippet: Snippet) -> str:
    return snippet.name


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Iterator[Path]:
    """A folder like a checkout, in which the commands of the pages find the runs that they are about."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("experiments", "rl_distill", "scripts", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setenv("MPLBACKEND", "agg")
        patch.setattr(recipes, "load_recipe", _smaller(recipes.load_recipe))
        for snippet in ALL:
            if name := snippet.marked("file"):
                (folder / name).write_text(snippet.text)
        for number, name in enumerate(_hub_names()):
            _tiny_model(folder / name, seed=number)
        for recipe in SMALLER:
            assert main(["train", recipe]) == 0
        yield folder


def _smaller(load: Callable[..., Any]) -> Callable[..., Any]:
    def smaller(path: str | Path, overrides: Any = ()) -> Any:
        return load(path, [*SMALLER.get(str(path), ()), *overrides])

    return smaller


def _hub_names() -> list[str]:
    """Models that commands which are run take from the hub; there they lie in folders of these names."""
    run = "\n".join(one.text for one in ALL if one.language == "bash" and not one.mark)
    return sorted(set(re.findall(r"evaluate (Qwen/\S+)", run)))


def _tiny_model(folder: Path, seed: int) -> None:
    tokenizer = byte_bpe_tokenizer([PAGES[0].read_text(encoding="utf-8")], 300)
    model = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=512, seed=seed).build(tokenizer)
    save_pretrained(model, tokenizer, folder)


@pytest.mark.parametrize("snippet", [one for one in ALL if one.language not in SHOWN], ids=name_of)
def test_a_snippet_is_of_a_kind_that_is_tested_or_says_why_not(snippet) -> None:
    assert snippet.language in ("bash", "python", "yaml", "json"), "name the language; `text` is what is printed"
    if snippet.mark.startswith("not run"):
        assert snippet.marked("not run") in NOT_RUN, f"not a reason: {snippet.mark}"


BASH = [one for one in ALL if one.language == "bash" and not one.marked("not run")]


@pytest.mark.slow
@pytest.mark.parametrize("snippet", BASH, ids=name_of)
def test_commands_run(snippet, workspace, done) -> None:
    for words in commands(snippet.text):
        if words[0] != "rl-distill":
            _check_shell(words)
        elif tuple(words) not in done:
            _run(words)
            done.add(tuple(words))


@pytest.mark.parametrize("snippet", [one for one in ALL if one.language == "bash" and one.marked("not run")], ids=name_of)
def test_commands_that_are_not_run_name_what_exists(snippet) -> None:
    for words in commands(snippet.text):
        _check_experiment(words)


@pytest.fixture(scope="module")
def done() -> set[tuple[str, ...]]:
    """Commands that were run: one that stands on several pages is run once."""
    return set()


def _run(words: Sequence[str]) -> None:
    code = main([*words[1:], *MORE.get(words[1], [])])
    assert code in (0, FOUND.get(words[1], 0)), words


def _check_shell(words: list[str]) -> None:
    """What prepares an environment is not done, but it has to name what there is."""
    if words[:2] == ["pip", "install"]:
        extras = re.findall(r"\.\[(\w+)\]", " ".join(words))
        setup = (ROOT / "setup.py").read_text(encoding="utf-8")
        assert all(f'        "{extra}": ' in setup for extra in extras)
    else:
        assert words == ["source", ".venv/bin/activate"], f"mark it as not run, with a reason: {' '.join(words)}"


PYTHON = [one for one in ALL if one.language == "python" and not any(text in one.text for text in TESTED_ELSEWHERE)]


@pytest.mark.slow
@pytest.mark.parametrize("snippet", PYTHON, ids=name_of)
def test_python_runs(snippet, workspace) -> None:
    module = snippet.marked("file").removesuffix(".py") or "__main__"
    exec(compile(snippet.text, snippet.name, "exec"), {"__name__": module})


@pytest.mark.parametrize("snippet", [one for one in ALL if one.language == "yaml"], ids=name_of)
def test_yaml_is_read_by_what_it_is_for(snippet, tmp_path, monkeypatch) -> None:
    for one in ALL:  # modules that recipes name
        if name := one.marked("file"):
            (tmp_path / name).write_text(one.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "snippet.yaml").write_text(snippet.text)
    tree = read_yaml(tmp_path / "snippet.yaml")
    if place := snippet.marked("into"):
        path, _, where = place.partition(" ")
        recipe = ROOT / path
        parse(CLASSES[header(recipe)], merged(read_yaml(recipe), where, tree))
    else:
        parse(_class_of(tree), tree)


def _class_of(tree: dict[str, Any]) -> type:
    """What a whole file is, by a key that only such a file has."""
    kinds = {"stages": recipes.Recipe, "recipe": Sweep, "grader": Benchmark, "generate": CurationRecipe, "model": BehaviorJudge}
    return next(cls for key, cls in kinds.items() if key in tree)


@pytest.mark.parametrize("snippet", [one for one in ALL if one.language == "json"], ids=name_of)
def test_json_is_saved_as_a_file_that_a_command_reads(snippet) -> None:
    assert any(snippet.marked("file") in one.text for one in ALL if one.language in ("bash", "yaml"))


@pytest.mark.parametrize("page", [*ROOT.glob("experiments/**/README.md"), ROOT / "experiments" / "LOG.md"], ids=str)
def test_commands_of_experiments_name_what_exists(page) -> None:
    """They take minutes to days. Their recipes load with the overrides that stand there, and their scripts are there."""
    for snippet in snippets(page):
        for words in commands(snippet.text) if snippet.language == "bash" else []:
            _check_experiment(words)


def _check_experiment(words: list[str]) -> None:
    files = [word for word in words if re.fullmatch(r"(experiments|scripts)/[\w./-]+\.(py|yaml|sh)", word)]
    assert all((ROOT / file).is_file() for file in files), words
    if words[:2] == ["rl-distill", "train"] and files:
        overrides = [word for word in words[3:] if re.match(r"[\w.]+=", word) and "$" not in word]
        recipes.load_recipe(ROOT / files[0], overrides)


def test_every_reason_is_used() -> None:
    assert {snippet.marked("not run") for snippet in ALL} - {""} == NOT_RUN
