"""Every sweep is valid to the last cell, says how it is run, and stands in the table of sweeps."""

from pathlib import Path

import pytest

from rl_distill.sweeps.cells import cells_of
from rl_distill.sweeps.settings import read_sweep_file

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "experiments" / "sweeps"
SWEEPS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_the_sweep_and_all_its_cells_load_and_its_header_names_its_command(path: Path) -> None:
    sweep = read_sweep_file(path, ["seeds=[0]"])
    cells = cells_of(sweep, path)
    assert len(cells.cells) > 2 and cells.baseline is not None and not cells.notes
    assert f"# run: rl-distill sweep {path.relative_to(REPOSITORY).as_posix()}" in path.read_text(encoding="utf-8").splitlines()


def test_the_readme_has_them_all_and_no_two_share_a_folder() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert SWEEPS and all(f"]({path.name})" in text for path in SWEEPS)
    assert len({read_sweep_file(path).path for path in SWEEPS}) == len(SWEEPS)
