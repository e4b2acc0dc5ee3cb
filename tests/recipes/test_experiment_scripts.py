"""The scripts beside the recipes still fit the package: what they import is there, and they say what they take."""

import runpy
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SCRIPTS = [path for path in sorted(EXPERIMENTS.rglob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_a_script_says_what_it_takes(path, monkeypatch, capsys):
    assert "argparse" in path.read_text(encoding="utf-8"), "a script takes its input as arguments"
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0 and "usage:" in capsys.readouterr().out
