"""Candidates by similarity: found where texts share most of their runs, the same in every process."""

import subprocess
import sys

import pytest

from rl_distill.curation.near_texts import NearTexts, sketch

TEXT = "a bakery bakes 48 loaves in the morning, and sells 29 of them to a hotel before noon; how many are left?"


def test_the_estimate_is_near_the_exact_similarity() -> None:
    other = TEXT.replace("hotel", "school").replace("bakery", "bakehouse")
    one_runs, other_runs = ({text[at : at + 5] for at in range(len(text) - 4)} for text in (TEXT, other))
    exact = len(one_runs & other_runs) / len(one_runs | other_runs)
    assert sketch(TEXT).jaccard(sketch(other)) == pytest.approx(exact, abs=0.13)  # three standard errors


def test_like_texts_are_candidates_and_unlike_ones_are_not() -> None:
    near = NearTexts(0.6)
    near.add(7, sketch(TEXT))
    near.add(3, sketch(TEXT + " Tell."))
    assert near.candidates(sketch(TEXT.replace("loaves", "loavse"))) == [3, 7]
    assert near.candidates(sketch("find the value of x if x squared is nine")) == []


def test_texts_under_different_keys_are_no_candidates() -> None:
    near = NearTexts(0.6)
    near.add(0, sketch(TEXT, "48 29"))
    assert near.candidates(sketch(TEXT, "48 29")) == [0] and near.candidates(sketch(TEXT, "48 30")) == []


@pytest.mark.parametrize("jaccard", [1e-9, 0.99, 1 - 1e-9])
def test_any_similarity_may_be_asked_for(jaccard: float) -> None:
    near = NearTexts(jaccard)
    near.add(0, sketch(TEXT))
    assert near.candidates(sketch(TEXT)) == [0]


@pytest.mark.parametrize("text", ["", "x", "\ud800", "答案" * 4, "𝑥" * 9])
def test_any_text_has_a_sketch_and_finds_itself(text: str) -> None:
    near = NearTexts(0.9)
    near.add(0, sketch(text, text))
    assert near.candidates(sketch(text, text)) == [0]


def test_a_sketch_is_the_same_in_every_process() -> None:
    script = f"from rl_distill.curation.near_texts import sketch; print(sketch({TEXT!r}, 'k').hashvalues.tolist())"
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    assert found == f"{sketch(TEXT, 'k').hashvalues.tolist()}\n"
