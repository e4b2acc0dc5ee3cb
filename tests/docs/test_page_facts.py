"""What pages quote still stands in the code: messages of failures, and papers."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rl_distill"
PAPER = re.compile(r"(?:arXiv[: ]*|, )(\d{4}\.\d{5})")
MESSAGES = [
    line
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "docs" / "failures.md").read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]
PAPERS = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")


@cache
def texts() -> str:
    """Every text of the package, one a line, with `...` where a value is put in."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                found.append("".join(map(str, parts)))
    return "\n".join(found)


def pieces(message: str) -> list[str]:
    """What is fixed in a message: between values, and between field, problem and remedy, which are put together at run time."""
    message = re.sub(r"^(error|failed|stopped|warning): ", "", message)
    fixed = [piece.strip(" '.;:,()?") for piece in re.split(r"\.\.\.|: |; ", message)]
    return [piece for piece in fixed if len(piece) > 3]


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_on_the_page_of_failures_is_one_of_the_codes(message) -> None:
    assert pieces(message), "nothing of it is fixed"
    assert [piece for piece in pieces(message) if piece not in texts()] == []


def test_a_message_that_the_code_does_not_have_is_noticed() -> None:
    assert [piece for piece in pieces("error: recipe: is not to my taste; try harder") if piece not in texts()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "experiments/none.yaml"], "there is no file 'experiments/none.yaml'"),
        (
            ["train", "experiments/debug/sft.yaml", "stages.sft.stepz=3"],
            "stepz: is not a known key; did you mean 'steps'?",
        ),
        (["train", "experiments/debug/sft.yaml", "seed"], "'seed' is not of the form key=value"),
        (["status", "experiments"], "holds no run; give the folder of a run (its run_dir)"),
    ],
)
def test_messages_look_as_the_page_says(cli, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(ROOT)
    code, _, err = cli(*arguments)
    assert code == 2 and err.startswith("error: ") and words in err


def test_every_paper_that_the_package_or_an_experiment_names_is_in_the_index() -> None:
    files = [path for folder in ("rl_distill", "experiments") for path in (ROOT / folder).rglob("*")]
    named = {
        paper: path
        for path in files
        if path.suffix in (".py", ".yaml", ".md")
        for paper in re.findall(r"arXiv[: ]*(\d{4}\.\d{5})", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 30 and [(paper, path) for paper, path in named.items() if paper not in PAPERS] == []


@pytest.mark.parametrize("row", [line for line in PAPERS.splitlines() if re.match(r"\| .*\d{4}\.\d{5}", line)])
def test_a_paper_is_named_in_the_code_that_its_row_points_to(row) -> None:
    paper, _, code, tried = (cell.strip() for cell in row.strip("|").split(" | "))
    files = [(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", code)]
    assert files and tried
    for file in files:
        assert any(identifier in file.read_text(encoding="utf-8") for identifier in PAPER.findall(paper)), file
