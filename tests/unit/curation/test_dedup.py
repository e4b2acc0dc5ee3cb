"""One of several problems that ask the same is kept, whatever the order, and the others say which."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from planted_copies import COPIES, VARIANTS, WRITTEN, planted

from rl_distill.config import parse
from rl_distill.curation.dedup import Dedup
from rl_distill.errors import InputError
from rl_distill.trajectory import Problem

POOL = [*WRITTEN, *(copy for kind in ("typos", "spacing", "reordered", "one_number") for _, copy in planted(WRITTEN, kind))]


def ids(problems: Sequence[Problem]) -> list[str]:
    return [problem.id for problem in problems]


@pytest.mark.parametrize("kind", ["exact", "renumbered", "spacing", "typos", "reordered", "spelled"])
def test_a_copy_is_left_out_and_names_what_is_kept(kind: str) -> None:
    pairs = list(planted(WRITTEN, kind))
    kept, drops = Dedup().apply([*WRITTEN, *(copy for _, copy in pairs)])
    assert pairs and kept == list(WRITTEN)
    assert [(drop.problem_id, drop.match) for drop in drops] == [(copy.id, original.id) for original, copy in pairs]
    assert {(drop.stage, drop.reason, drop.source, drop.attempt) for drop in drops} == {("dedup", "duplicate", "planted", None)}


@pytest.mark.parametrize("kind", VARIANTS)
def test_other_numbers_make_another_question_unless_variants_are_unwanted(kind: str) -> None:
    problems = [*WRITTEN, *(variant for _, variant in planted(WRITTEN, kind))]
    assert Dedup().apply(problems) == (problems, [])
    assert Dedup(variants="drop").apply(problems)[1]


def test_nothing_is_lost_and_order_is_kept() -> None:
    kept, drops = Dedup().apply(POOL)
    assert sorted(ids(kept) + [drop.problem_id for drop in drops]) == sorted(ids(POOL))
    assert ids(kept) == [problem.id for problem in POOL if problem in kept]


def test_a_second_time_changes_nothing() -> None:
    kept, _ = Dedup().apply(POOL)
    assert Dedup().apply(kept) == (kept, [])


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_does_not_depend_on_the_order_within_sources(seed: int) -> None:
    shuffled = sorted(Random(seed).sample(POOL, len(POOL)), key=lambda problem: problem.source != "written")
    assert set(ids(Dedup().apply(shuffled)[0])) == set(ids(Dedup().apply(POOL)[0]))


def test_the_first_of_the_preferred_source_is_kept(problem: Callable[..., Problem]) -> None:
    text = "How many legs have 3 dogs and 4 birds together in all?"
    pool = [problem(text, id="b-10", source="b"), problem(text, id="b-9", source="b"), problem(text, id="a-1", source="a")]
    assert ids(Dedup().apply(pool)[0]) == ["b-9"]
    assert ids(Dedup(sources=("a", "b")).apply(pool)[0]) == ["a-1"]


def test_a_preferred_source_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(InputError, match="sources: no problem is from writen"):
        Dedup(sources=("writen",)).apply(POOL)


def test_one_text_with_two_answers_is_said(problem: Callable[..., Problem]) -> None:
    pool = [problem("What is 3 + 4?", "7", id="a"), problem("What is 3+4?", "8", id="b"), problem("what is 3+4", None, id="c")]
    _, drops = Dedup(ratio=90.0).apply(pool)
    assert [drop.reason for drop in drops] == ["duplicate_with_other_answer", "duplicate"]
    assert drops[0].detail == "ratio 100.0, answers '8' and '7'"


def test_questions_told_alike_with_other_answers_stay(problem: Callable[..., Problem]) -> None:
    text = "A chess team has 26 members. Only 16 came, half of the girls and all of the boys. How many {} are on the team?"
    pool = [problem(text.format("girls"), "20", id="a"), problem(text.format("boys"), "6", id="b")]
    assert Dedup(ratio=90.0).apply(pool) == (pool, [])
    assert len(Dedup(ratio=90.0).apply([replace(each, answer=None) for each in pool])[1]) == 1


def test_an_empty_pool_stays_empty() -> None:
    assert Dedup(sources=("a",)).apply([]) == ([], [])


@pytest.mark.parametrize("prompts", [("答案是什么？", "答案是什麼?"), ("", ""), ("?", "?")])
def test_any_text_is_compared(prompts: tuple[str, str], problem: Callable[..., Problem]) -> None:
    pool = [problem(prompt, id=str(place)) for place, prompt in enumerate(prompts)]
    kept, drops = Dedup().apply(pool)
    assert len(kept) + len(drops) == 2 and (len(drops) == 1) == (prompts[0] == prompts[1])


def test_thousands_of_one_template_are_not_compared_with_each_other(
    problem: Callable[..., Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would all be candidates of each other but for the numbers."""
    from rl_distill.curation import dedup

    compared = []
    monkeypatch.setattr(dedup, "likeness", lambda *args, **named: compared.append(args) or 0.0)
    Dedup().apply(
        [problem(f"How many apples are in {number} bags of {number + 1} apples?", id=f"{number}") for number in range(2, 1002)]
    )
    assert len(compared) < 100


@pytest.mark.parametrize("wrong", [{"jaccard": 1.0}, {"ratio": 0}, {"ratio": 101}, {"variants": "some"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        parse(Dedup, wrong)


def test_every_kind_of_copy_that_is_not_for_dedup_is_known() -> None:
    """Told anew, or quoted: what Dedup leaves to Decontaminate."""
    assert set(COPIES) - {"exact", "renumbered", "spacing", "typos", "reordered", "spelled"} == {"renamed", "quoted", "reworded"}
