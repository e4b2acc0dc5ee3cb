import random

import pytest

from rl_distill.analysis.text_parts import parts


@pytest.mark.parametrize("overlap", [0, 1, 7, 20])
def test_parts_cover_the_text_within_their_size_and_overlap(overlap: int) -> None:
    draw = random.Random(overlap)
    for _ in range(200):
        text = "".join(draw.choice(["a", "bb", " ", "\n", "\n\n", "ccccccccccc"]) for _ in range(draw.randrange(60)))
        found = list(parts(text, 50, overlap))
        assert (found[0][0], found[-1][1]) == (0, len(text))
        assert all(end - start <= 50 for start, end in found)
        for (start, end), (following, later) in zip(found, found[1:], strict=False):
            assert start < following <= end < later
            assert end - following <= overlap


def test_a_part_ends_with_a_paragraph_and_the_next_begins_with_one() -> None:
    paragraphs = [f"paragraph {number} " + "x" * 30 for number in range(20)]
    text = "\n\n".join(paragraphs)
    for start, end in list(parts(text, 200, 60))[:-1]:
        assert text[:end].endswith("\n\n")
        assert start == 0 or text[:start].endswith("\n\n")


def test_a_million_characters_without_a_border_are_cut() -> None:
    assert len(list(parts("x" * 1_000_000, 1000, 100))) == 1111
    assert list(parts("", 10, 2)) == [(0, 0)]
    with pytest.raises(ValueError, match="overlap"):
        list(parts("x", 10, 10))
