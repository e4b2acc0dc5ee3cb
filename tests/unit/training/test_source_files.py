"""Files by their content: small ones whole, large ones by pieces, and in no time."""

from pathlib import Path

import pytest

from rl_distill.training import source_files
from rl_distill.training.source_files import PIECE, PIECES, file_digest


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(source_files.WHOLE + 12_345_678)  # sparse: takes no room
    return path


def test_a_large_file_that_goes_on_training_has_another_digest(large: Path) -> None:
    before = file_digest(large)
    with large.open("r+b") as file:
        for place in range(0, large.stat().st_size, 10_000):  # a number in each 10,000 bytes: fewer than training changes
            file.seek(place)
            file.write(b"\x01")
    assert file_digest(large) != before


@pytest.mark.parametrize("place", [0, -1])
def test_the_ends_of_a_large_file_are_among_its_pieces(large: Path, place: int) -> None:
    before = file_digest(large)
    with large.open("r+b") as file:
        file.seek(place % large.stat().st_size)
        file.write(b"\x01")
    assert file_digest(large) != before


def test_a_longer_file_with_the_same_pieces_is_another(large: Path) -> None:
    before = file_digest(large)
    with large.open("r+b") as file:
        file.truncate(large.stat().st_size + 1)
    assert file_digest(large) != before


def test_of_a_large_file_little_is_read() -> None:
    assert PIECES * PIECE <= source_files.WHOLE / 4
