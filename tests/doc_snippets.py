"""The snippets of the documentation: fenced blocks with what a comment before them says of how they are used."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "scripts" / "launch" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {  # why a snippet may be left alone: `<!-- not run: REASON -->`
    "minutes, and makes an environment",
    "hours",
    "needs a cluster with a dashboard",
    "needs a model from the hub",
    "needs a paid API",
    "needs several hosts",
    "needs Slurm",
    "starts a Ray cluster, as tests/cluster does",
}
SHOWN = {"text", "console", "math"}  # languages of what is printed or drawn, and not run


class Snippet(NamedTuple):
    """
    mark  what the comment before it says: `not run: WHY`, `file: NAME` that it is saved as, `into: RECIPE PATH` that it changes
    """

    page: Path
    line: int
    language: str
    mark: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def marked(self, kind: str) -> str:
        """What a mark of this kind says; "" if it is of another kind."""
        found, _, what = self.mark.partition(": ")
        return what if found == kind else ""


def snippets(page: Path) -> Iterator[Snippet]:
    lines = page.read_text(encoding="utf-8").split("\n")
    mark, opened = "", None
    for number, line in enumerate(lines, start=1):
        if opened is None and (found := re.fullmatch(r"```(\w*)", line)):
            opened = (number, found.group(1))
        elif opened is not None and line == "```":
            yield Snippet(page, opened[0], opened[1], mark, "\n".join(lines[opened[0] : number - 1]) + "\n")
            opened, mark = None, ""
        elif opened is None and line.strip():
            comment = re.fullmatch(r"<!-- (.+) -->", line)
            mark = comment.group(1) if comment else ""


def commands(text: str) -> list[list[str]]:
    """The words of each command of a shell block, comments left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def merged(tree: Any, path: str, change: Any) -> Any:
    """A recipe's tree with a fragment at `stages.NAME`, or at its top; mappings are merged, all else is replaced."""
    node = tree
    for part in filter(None, path.split(".")):
        node = next(one for one in node if one["name"] == part) if isinstance(node, list) else node[part]
    _merge(node, change)
    return tree


def _merge(node: Any, change: Any) -> None:
    for key, value in change.items():
        old = node.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("name", old.get("name")) == old.get("name"):
            _merge(old, value)  # of another name it is another thing
        else:
            node[key] = value


def header(recipe: Path) -> str:
    """The command that a recipe's own header names: train, curate or sweep."""
    found = re.search(r"# run: rl-distill (\w+) ", recipe.read_text(encoding="utf-8"))
    assert found, f"{recipe} does not say how it is run"
    return found.group(1)
