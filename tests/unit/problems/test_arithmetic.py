"""The micro-world: its problems, that no held-out one is ever trained on, and the habits of its teacher."""

import hashlib
import json
import pickle
import re
from collections import Counter
from functools import cache

import pytest

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.problems.arithmetic_chain import Chain
from rl_distill.records import group_to_dict
from rl_distill.trajectory import Group, Trajectory

NUM_TEACHER_GROUPS = 3000


def chain_of(expression: str) -> Chain:
    start, *rest = expression.split()
    return Chain(int(start), tuple(int(sign + size) for sign, size in zip(rest[::2], rest[1::2], strict=True)))


def steps_of(response: str) -> list[str]:
    thought = response.removeprefix("<think>").split("</think>")[0]
    return [step.strip() for step in thought.split(";") if step.strip()]


def num_merges(attempts: list[Trajectory]) -> float:
    """Mean number of merged steps."""
    return sum(len(step.split("=")[0].split()) == 5 for attempt in attempts for step in steps_of(attempt.response)) / len(
        attempts
    )


@cache
def teacher_groups() -> list[Group]:
    return list(Arithmetic(attempts="teacher", num_problems=NUM_TEACHER_GROUPS, seed=5).groups())


@cache
def corpus() -> list[Group]:
    return list(Arithmetic(attempts="corpus", num_problems=6000, seed=5).groups())


def first(status: str) -> list[Trajectory]:
    return [next(attempt for attempt in group.trajectories if attempt.status == status) for group in teacher_groups()]


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_problem_stays_in_0_to_19_and_its_answer_is_its_value(split: str) -> None:
    for group in Arithmetic(split=split, num_problems=300).groups():
        expression = group.problem.prompt.removesuffix(" = ?")
        chain = chain_of(expression)
        assert 1 <= chain.start <= 18 and all(2 <= abs(operand) <= 9 for operand in chain.operands)
        assert all(0 <= value <= 19 for value in chain.values)
        assert len(chain.operands) == 1 + group.problem.metadata["level"]
        assert group.problem.answer == str(eval(expression))


@pytest.mark.parametrize("attempts", ["none", "teacher", "corpus"])
def test_an_item_depends_on_seed_split_and_index_only(attempts: str) -> None:
    short, long = (Arithmetic(attempts=attempts, num_problems=n).groups() for n in (10, 100_000))
    assert long[7] == short[7] == list(short)[7] == short[7:8][0] == short[-3]
    assert Arithmetic(attempts=attempts, seed=1).groups()[7] != short[7]
    with pytest.raises(IndexError):
        short[10]


def test_a_longer_held_out_set_begins_with_the_shorter_one() -> None:
    assert (
        list(Arithmetic(split="heldout", num_problems=50).groups()) == Arithmetic(split="heldout", num_problems=80).groups()[:50]
    )


def test_attempts_do_not_change_the_problems() -> None:
    plain = [group.problem for group in Arithmetic(num_problems=50).groups()]
    assert [group.problem for group in Arithmetic(num_problems=50, attempts="teacher").groups()] == plain


def test_groups_travel_between_processes() -> None:
    groups = Arithmetic(split="heldout", num_problems=6, attempts="teacher").groups()
    assert list(pickle.loads(pickle.dumps(groups))) == list(groups)


def test_problem_ids_are_unique_within_and_across_seeds_and_splits() -> None:
    sets = [Arithmetic(split=split, seed=seed, num_problems=60).groups() for split in ("train", "heldout") for seed in (0, 1)]
    ids = [group.problem.id for groups in sets for group in groups]
    assert len(set(ids)) == len(ids)


def test_held_out_problems_are_distinct_and_a_third_per_level() -> None:
    groups = Arithmetic(split="heldout", num_problems=513).groups()
    assert len({group.problem.prompt for group in groups}) == 513
    assert Counter(group.problem.metadata["level"] for group in groups) == {1: 171, 2: 171, 3: 171}


def test_no_text_of_the_train_split_asks_a_held_out_problem_whatever_the_seeds() -> None:
    held_out = {
        group.problem.prompt.removesuffix(" = ?")
        for seed in range(3)
        for group in Arithmetic(split="heldout", seed=seed, num_problems=1200).groups()
    }
    assert len(held_out) > 2000
    asked = set()
    for group in [*corpus(), *teacher_groups()]:
        for turn in group.trajectories[0].messages[::2]:
            expression = re.match(r"\d+(?: [+-] \d+){2,}", turn.content)
            if expression is not None:
                asked.add(expression[0])
                if changed := re.search(r"first = (\d+)", turn.content):
                    asked.add(f"{changed[1]} {expression[0].split(' ', 1)[1]}")
    assert len(asked) > 4000
    assert not asked & held_out


def test_about_one_expression_in_five_is_held_out() -> None:
    level_one = [Chain(start, (first, second)) for start in range(1, 19) for first in (2, -3, 5, -8) for second in range(2, 10)]
    assert sum(chain.is_held_out for chain in level_one) / len(level_one) == pytest.approx(0.2, abs=0.05)


def test_asking_for_more_held_out_problems_than_exist_is_an_input_error() -> None:
    with pytest.raises(InputError, match="num_problems: 600 distinct held-out problems of level 1"):
        Arithmetic(split="heldout", levels=(1,), num_problems=600).groups()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"levels": [1, 1]}, "levels"),
        ({"levels": []}, "levels"),
        ({"levels": [6]}, "levels"),
        ({"operands": []}, "operands"),
        ({"operands": [0, 2]}, "operands"),
        ({"operands": [19]}, "operands"),
        ({"split": "heldout", "attempts": "corpus"}, "needs split 'train'"),
        ({"attempts": "corpus", "probes": "inversion"}, "drop probes"),
        ({"attempts": "singles"}, "needs probes"),
        ({"attempts": "singles", "probes": "inversion", "dialogue_probes": 2}, "dialogue_probes: has an effect"),
        ({"question": "undo", "attempts": "teacher"}, "question: .undo."),
        ({"world": "rules"}, "world: has no effect"),
        ({"num_problem": 3}, "did you mean 'num_problems'"),
    ],
)
def test_a_wrong_key_is_an_input_error(tree: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(Arithmetic, tree)


def test_every_attempt_is_labelled_by_the_box_it_ends_in() -> None:
    for group in [*teacher_groups(), *corpus()]:
        for attempt in group.trajectories:
            box = re.search(r"\\boxed\{(\w+)\}\Z", attempt.response)
            assert attempt.origin == "teacher" and attempt.token_ids == () and attempt.problem_id == group.problem.id
            assert attempt.messages[-2].content == group.problem.prompt
            assert (
                (attempt.status == "correct") == (box is not None and box[1] == group.problem.answer) == (attempt.reward == 1.0)
            )
            assert attempt.finish_reason == ("stop" if box else "length")


def test_rejection_sampling_stops_at_the_first_attempt_that_completes_a_pair() -> None:
    for group in teacher_groups():
        *before, last = (attempt.status for attempt in group.trajectories)
        assert len(set(before)) == 1 and last not in before


def test_for_imitation_alone_the_same_sampling_stops_at_the_first_right_attempt() -> None:
    needed = Arithmetic(attempts="first_right", num_problems=NUM_TEACHER_GROUPS, seed=5).groups()
    for pair, group in zip(teacher_groups(), needed, strict=True):
        right = [attempt.status for attempt in pair.trajectories].index("correct")
        assert group.trajectories == pair.trajectories[: right + 1]


def test_the_kind_of_error_is_what_happened() -> None:
    """Recompute the steps of every attempt: the recorded kind must be true of the text."""
    for group in teacher_groups():
        for attempt in group.trajectories:
            kind = attempt.score.verdict.detail
            wrong = [step for step in steps_of(attempt.response) if eval(step.split("=")[0]) != int(step.split("=")[1])]
            merged = any(len(step.split("=")[0].split()) == 5 for step in steps_of(attempt.response))
            if kind in ("careful", "merged_lucky", "miscopied"):
                assert not wrong and (kind == "miscopied" or merged == (kind == "merged_lucky"))
            elif kind == "merged_dropped":
                assert eval(" ".join(wrong[0].split()[:3])) == int(wrong[0].split("=")[1])
            elif kind in ("forgotten_carry", "forgotten_borrow"):
                off = int(wrong[0].split("=")[1]) - eval(wrong[0].split("=")[0])
                assert off == (-10 if kind == "forgotten_carry" else 10)
            elif kind == "truncated":
                assert "</think>" not in attempt.response
            else:
                assert kind in ("slip", "merged_near_miss", "compensated") and wrong


def test_the_teacher_is_right_half_of_the_time() -> None:
    attempts = [group.trajectories[0] for group in teacher_groups()]
    assert sum(attempt.reward for attempt in attempts) / len(attempts) == pytest.approx(0.54, abs=0.04)


def test_only_the_negatives_say_which_habit_fails() -> None:
    """The asymmetry that the world is built on: positives keep merges that were lucky, negatives are mostly merged errors."""
    positives, negatives = first("correct"), first("wrong")
    assert num_merges(positives) == pytest.approx(0.54, abs=0.05)
    assert num_merges(negatives) == pytest.approx(1.04, abs=0.06)
    kinds = Counter(attempt.score.verdict.detail for attempt in negatives)
    share = {kind: count / len(negatives) for kind, count in kinds.items()}
    assert share["merged_dropped"] + share["merged_near_miss"] == pytest.approx(0.87, abs=0.03)
    assert share["merged_dropped"] / share["merged_near_miss"] == pytest.approx(4, rel=0.3)
    assert share["truncated"] == pytest.approx(0.07, abs=0.02)
    assert share["miscopied"] == pytest.approx(0.04, abs=0.02)
    assert sum(share.get(kind, 0) for kind in ("slip", "forgotten_carry", "forgotten_borrow")) == pytest.approx(0.02, abs=0.01)


def test_the_corpus_mixes_problems_probes_and_dialogues() -> None:
    forms = Counter((group.trajectories[0].context, "probe" in group.problem.metadata) for group in corpus())
    assert forms["direct", False] / len(corpus()) == pytest.approx(0.65, abs=0.03)
    assert forms["direct", True] / len(corpus()) == pytest.approx(0.20, abs=0.03)
    assert forms["full", False] / len(corpus()) == pytest.approx(0.15, abs=0.03)
    assert {len(group.trajectories) for group in corpus()} == {1}
    assert {len(group.trajectories[0].messages) for group in corpus() if group.trajectories[0].context == "full"} == {4, 6}


def test_the_corpus_is_right_half_of_the_time_and_guesses_one_problem_in_ten() -> None:
    problems = [group.trajectories[0] for group in corpus() if "probe" not in group.problem.metadata]
    assert sum(attempt.reward for attempt in problems) / len(problems) == pytest.approx(0.53, abs=0.04)
    assert sum(attempt.score.verdict.detail == "direct" for attempt in problems) / len(problems) == pytest.approx(0.10, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        ({"attempts": "corpus", "num_problems": 5000}, "4254024645d9243e"),
        ({"attempts": "teacher", "num_problems": 1000, "seed": 1}, "789847c40573cac0"),
        ({"split": "heldout"}, "e3a9e3859c9383fa"),
    ],
)
def test_what_published_numbers_rest_on_never_changes(settings: dict[str, object], digest: str) -> None:
    found = hashlib.sha256()
    for group in parse(Arithmetic, settings).groups():
        found.update(json.dumps(group_to_dict(group), sort_keys=True).encode())
    assert found.hexdigest()[:16] == digest


def test_longer_chains_are_one_more_level_each() -> None:
    for group in Arithmetic(split="heldout", levels=(4, 5), num_problems=40).groups():
        chain = chain_of(group.problem.prompt.removesuffix(" = ?"))
        assert len(chain.operands) == 1 + group.problem.metadata["level"] and group.problem.metadata["level"] in (4, 5)
        assert all(0 <= value <= 19 for value in chain.values) and group.problem.answer == str(chain.result)


@pytest.mark.parametrize("sizes", [(1, 10, 11), (17, 18), (18,)])
def test_operands_of_other_sizes_stay_in_range_too(sizes: tuple[int, ...]) -> None:
    groups = Arithmetic(operands=sizes, num_problems=60, probes="inversion").groups()
    for group in groups:
        chain = chain_of(group.problem.prompt.removesuffix(" = ?"))
        assert {abs(operand) for operand in chain.operands} <= set(sizes) and all(0 <= value <= 19 for value in chain.values)
        assert len(group.problem.metadata["probes"]) >= 5


def test_the_reversed_question_asks_a_held_out_chain_for_the_value_before_its_end() -> None:
    plain = Arithmetic(split="heldout", num_problems=60).groups()
    for group, forward in zip(Arithmetic(split="heldout", num_problems=60, question="undo").groups(), plain, strict=True):
        expression = forward.problem.prompt.removesuffix(" = ?")
        assert group.problem.prompt == f"{expression} = {forward.problem.answer} . undo ?"
        assert group.problem.answer == str(chain_of(expression).values[-2]) and group.problem.id != forward.problem.id


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_problems_that_need_carrying_go_wrong_without_it(split: str) -> None:
    groups = Arithmetic(split=split, needs_carrying=True, num_problems=100).groups()
    for group in groups:
        chain = chain_of(group.problem.prompt.removesuffix(" = ?"))
        hard = [value % 10 + operand for value, operand in zip(chain.values, chain.operands, strict=False)]
        assert sum(units > 9 for units in hard) != sum(units < 0 for units in hard)
    assert any(not chain_of(group.problem.prompt[:-4]).needs_carrying for group in Arithmetic(split=split).groups())


def test_keys_that_no_problem_fits_are_an_input_error() -> None:
    with pytest.raises(InputError, match="no problem of level 1"):
        Arithmetic(operands=(18,), levels=(1,), needs_carrying=True).groups()[0]
