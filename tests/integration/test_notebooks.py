"""Every notebook runs from its first cell to its last as it stands, and keeps what it printed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "experiments" / "notebooks").glob("*.ipynb"))


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """One for all: they begin with the same base student."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_a_clean_checkout(path, cache, tmp_path) -> None:
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), str(tmp_path / path.name)]
    with TemporaryDirectory(prefix="nb") as short:  # Ray's sockets lie in it, and their paths may have 107 bytes
        places = {"RL_DISTILL_CACHE": str(cache), "TMPDIR": short, "IPYTHONDIR": str(tmp_path / "ipython")}
        environment = os.environ | places | {"PYTHONPATH": str(path.parents[2])}
        done = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_once_in_order_without_errors_and_names_no_folder_of_a_machine(path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs and not any(output["output_type"] == "error" for output in outputs)
    texts = [output for output in outputs if output["output_type"] == "stream"]
    assert not any(place in json.dumps(texts) for place in ("/tmp/", "/home/", "/root/"))
    assert path.stat().st_size < 500_000, "keep outputs small"
