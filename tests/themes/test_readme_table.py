"""The table of themes in tests/README.md is complete, and every test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LINES = [line for line in (TESTS / "README.md").read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)]
ROWS = {int(number): cells for number, *cells in (re.split(r" *\| *", line[2:-2]) for line in LINES)}
NODE = re.compile(r"`([\w/]+\.py)::(test_\w+)(?:\[(\w+)\])?`")
NAMED = [(number, *found) for number, cells in ROWS.items() for found in NODE.findall(cells[-1])]


@cache
def source(path: str) -> str:
    return (TESTS / path).read_text(encoding="utf-8")


@cache
def functions(path: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(source(path))) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("number", "path", "function", "case"), NAMED)
def test_a_test_that_the_table_names_exists(number, path, function, case):
    assert function in functions(path)
    assert not case or f'"{case}"' in source(path)


def test_every_theme_has_a_row_that_says_where_it_stands():
    assert list(ROWS) == list(range(1, 33))
    for number, (complaint, status, where, tests) in ROWS.items():
        kinds = set(re.findall(r"(?:^|; )(impossible|caught|later)\b", status))
        assert complaint and kinds, f"theme {number} has no status"
        assert bool(NODE.search(tests)) == bool(where) == (kinds != {"later"}), f"theme {number} is not proved"


def test_every_file_that_the_table_points_to_exists():
    for number, (_, _, where, _) in ROWS.items():
        for path in re.findall(r"`([\w./]+)[:`]", where):
            assert (TESTS.parent / path).exists() or (TESTS.parent / "rl_distill" / path).exists(), f"theme {number}: {path}"


def test_every_test_of_a_theme_stands_in_the_row_of_its_theme():
    found = {
        (int(name.split("_")[2]), f"themes/{path.name}", name)
        for path in (TESTS / "themes").glob("test_*.py")
        for name in functions(f"themes/{path.name}")
        if name.startswith("test_theme_")
    }
    assert len(found) > 15 and found <= {(number, path, function) for number, path, function, _ in NAMED}
