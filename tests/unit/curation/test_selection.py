"""The table of selections: what holds for every entry, and what each keeps."""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from rl_distill.config import config, parse, setting
from rl_distill.curation.answer_leak import AnswerLeak
from rl_distill.curation.attempt_selection import Language, LengthQuantile, RepeatedNgrams, letters_by_script
from rl_distill.curation.drop import Drop
from rl_distill.curation.operation import Operation
from rl_distill.curation.problem_selection import CapPerSource, Difficulty, OnePerCluster, PassRate, Sample
from rl_distill.curation.selection import OPERATIONS, AnyOperation
from rl_distill.errors import InputError
from rl_distill.trajectory import Group

LOOP = "so we add the two and get nine " * 20
EACH = [
    PassRate(), LengthQuantile(high=0.7), RepeatedNgrams(), Language(), OnePerCluster(), CapPerSource(max_problems=3),
    Sample(num_problems=5), AnswerLeak(min_words=4), Difficulty(low=2, high=4),
]  # fmt: skip
REQUIRED = {"cap_per_source": {"max_problems": 3}, "sample": {"num_problems": 5}, "difficulty": {"low": 2}}


@config
class Picked:
    operation: AnyOperation = setting(about="one of the table")


@pytest.fixture
def pool(attempt: Callable[..., Any], group: Callable[..., Group]) -> list[Group]:
    """Eighteen problems of two sources, with something in it for every operation."""
    texts = ("short and right", "答案是 nine", LOOP, "a longer text that comes to an end in good time, as it should")
    statuses = ("correct", "wrong", "unverifiable", "wrong")
    return [
        group(
            *(attempt(statuses[(place + number) % 4 if place % 3 else 0], text) for number, text in enumerate(texts)),
            id=f"p-{place}",
            source="ab"[place % 4 == 0],
            metadata={"difficulty": place % 6 or None},
            prompt=f"How many legs have {place} dogs?" if place < 9 else f"{Random(place).random()} times {'xyz' * place}",
        )
        for place in range(18)
    ]


def ids(groups: Sequence[Group]) -> list[str]:
    return [group.problem.id for group in groups]


def accounted(before: Sequence[Group], kept: Sequence[Group], drops: Sequence[Drop]) -> None:
    """Every problem and every attempt is kept, dropped, or belongs to a problem that is dropped."""
    problems = [drop.problem_id for drop in drops if drop.attempt is None]
    assert sorted(ids(kept) + problems) == sorted(ids(before))
    lost = Counter(drop.problem_id for drop in drops if drop.attempt is not None)
    remaining = {group.problem.id: group for group in kept}
    for group in before:
        if group.problem.id in remaining:
            assert len(remaining[group.problem.id].trajectories) + lost[group.problem.id] == len(group.trajectories)


def test_the_example_of_every_entry_is_here_and_is_picked_by_its_name() -> None:
    assert {type(operation) for operation in EACH} == set(OPERATIONS.values())
    for operation in EACH:
        values = REQUIRED.get(operation.name, {})
        assert type(parse(Picked, {"operation": {"name": operation.name, **values}}).operation) is type(operation)


@pytest.mark.parametrize("operation", EACH, ids=lambda operation: operation.name)
def test_nothing_is_lost_and_order_is_kept(operation: Operation, pool: list[Group]) -> None:
    kept, drops = operation.apply(pool, 0)
    accounted(pool, kept, drops)
    assert kept and drops and {drop.stage for drop in drops} == {operation.name}
    assert ids(kept) == [name for name in ids(pool) if name in ids(kept)]


@pytest.mark.parametrize("operation", EACH, ids=lambda operation: operation.name)
def test_what_is_kept_is_a_function_of_the_pool_and_the_seed(operation: Operation, pool: list[Group]) -> None:
    kept, _ = operation.apply(pool, 3)
    again, _ = operation.apply(Random(1).sample(pool, len(pool)), 3)
    assert sorted(ids(again)) == sorted(ids(kept))
    assert {group.problem.id: group for group in again} == {group.problem.id: group for group in kept}


@pytest.mark.parametrize("operation", [EACH[0], *EACH[2:]], ids=lambda operation: operation.name)
def test_a_second_time_changes_nothing(operation: Operation, pool: list[Group]) -> None:
    """Not so for quantiles: those of the rest are others."""
    kept, _ = operation.apply(pool, 0)
    assert operation.apply(kept, 0) == (kept, [])


@pytest.mark.parametrize("operation", [EACH[4], EACH[5], EACH[6]], ids=lambda operation: operation.name)
def test_what_is_drawn_depends_on_the_seed(operation: Operation, pool: list[Group]) -> None:
    assert len({tuple(ids(operation.apply(pool, seed)[0])) for seed in range(6)}) > 1


@pytest.mark.parametrize("operation", [one for one in EACH if one.name != "sample"], ids=lambda operation: operation.name)
def test_an_empty_pool_stays_empty(operation: Operation) -> None:
    assert operation.apply([], 0) == ([], [])


@pytest.mark.parametrize("operation", [*EACH[1:4], EACH[7]], ids=lambda operation: operation.name)
def test_a_pool_without_attempts_is_no_pool_of_good_ones(operation: Operation, group: Callable[..., Group]) -> None:
    with pytest.raises(InputError, match="finds no attempts"):
        operation.apply([group()], 0)


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ("cccc", "too_easy"), ("wwww", "too_hard"), ("cwww", None), ("cccw", None), ("cccccccccw", None),
        ("c" + 29 * "w", "too_hard"), ("ccc" + 27 * "w", None), ("uu", "not_verified"), ("", "not_verified"), ("cu", "too_easy"),
        ("wuuu", "too_hard"),
    ],
)  # fmt: skip
def test_pass_rate_is_the_share_of_correct_among_verified_attempts(
    statuses: str, reason: str | None, attempt: Callable[..., Any], group: Callable[..., Group]
) -> None:
    names = {"c": "correct", "w": "wrong", "u": "unverifiable"}
    kept, drops = PassRate().apply([group(*(attempt(names[status]) for status in statuses))], 0)
    assert [drop.reason for drop in drops] == ([reason] if reason else [])


def test_lengths_between_the_quantiles_are_kept_in_the_callers_unit(
    attempt: Callable[..., Any], group: Callable[..., Group]
) -> None:
    texts = ["x " * number for number in range(1, 11)]
    groups = [group(*(attempt("correct", text) for text in texts))]
    (kept,), drops = LengthQuantile(low=0.2, high=0.8).apply(groups, 0, length=lambda text: len(text.split()))
    assert [attempt.response for attempt in kept.trajectories] == texts[1:8]
    assert [drop.attempt for drop in drops] == [0, 8, 9] and drops[0].detail == "length 1, kept are 2 to 8"


def test_a_problem_goes_when_all_its_attempts_go(attempt: Callable[..., Any], group: Callable[..., Group]) -> None:
    kept, drops = RepeatedNgrams().apply([group(attempt("correct", LOOP), attempt("wrong", LOOP)), group(id="empty")], 0)
    assert ids(kept) == ["empty"]
    assert [(drop.reason, drop.attempt) for drop in drops] == [("repetition", 0), ("repetition", 1), ("no_attempt_left", None)]


MATH_LEVELS = (1.0, 2, 3.0, 5, None, "MEDIUM", True)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"low": 2}, [2, 3.0, 5]),
        ({"high": 3}, [1.0, 2, 3.0]),
        ({"low": 2, "high": 3}, [2, 3.0]),
        ({"labels": ("MEDIUM", "HARD")}, ["MEDIUM"]),
    ],
)
def test_difficulty_keeps_what_the_set_says_and_names_what_has_no_such_label(
    settings: Any, kept: list[Any], group: Callable[..., Group]
) -> None:
    groups = [group(id=str(place), metadata={"level": level}) for place, level in enumerate(MATH_LEVELS)]
    chosen, drops = Difficulty(key="level", **settings).apply(groups, 0)
    assert [one.problem.metadata["level"] for one in chosen] == kept
    accounted(groups, chosen, drops)
    unlabeled = {4, 6, 5} if "labels" not in settings else {0, 1, 2, 3, 4, 6}
    assert {int(drop.problem_id) for drop in drops if drop.reason == "no_difficulty"} == unlabeled


def test_a_difficulty_that_no_problem_has_is_an_error(group: Callable[..., Group]) -> None:
    with pytest.raises(InputError, match="finds no number under 'dificulty'"):
        Difficulty(key="dificulty", low=1).apply([group(metadata={"difficulty": 3})], 0)


LEADS = "We add the two legs of each of the four dogs, so there are "
SOLUTION = "Each dog has four legs and there are three dogs, so the number of legs is four times three, which is twelve."


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (LEADS + "\\boxed{12}", None),
        ("\\boxed{12}", "bare answer, words: 1"),
        ("<think>\n</think>\n\nThe answer is \\boxed{12}.", "bare answer, words: 4"),
        (LEADS + "12. The answer is given as 12, so \\boxed{12}", "citation: 'answer is given as'"),
        (LEADS + "12, and the reference answer is 12", "citation: 'reference answer is'"),
        (LEADS + "12 Answer Key", "citation: 'Answer Key'"),
        (LEADS + "12. According to the solution it is 12", None),  # the problem says so itself
        (LEADS + "12. Given the answer to the first part, four", None),
        (f"Let me think. {SOLUTION}", "copy: 100% of the solution's runs of 5 words"),
        (SOLUTION[:40] + LEADS, None),
    ],
)
def test_an_attempt_that_knows_the_answer_leaks_it(
    response: str, fault: str | None, attempt: Callable[..., Any], group: Callable[..., Group]
) -> None:
    leak = AnswerLeak(solution_key="solution", ngram_words=5)
    prompt = "According to the solution, how many legs have three dogs?"
    pool = [group(attempt("correct", response), attempt("wrong", LEADS + "13"), prompt=prompt, metadata={"solution": SOLUTION})]
    _, drops = leak.apply(pool, 0)
    assert [(drop.attempt, drop.detail) for drop in drops] == ([] if fault is None else [(0, fault)])


def test_a_solution_that_no_problem_has_is_an_error(attempt: Callable[..., Any], group: Callable[..., Group]) -> None:
    with pytest.raises(InputError, match="finds no text under 'solutoin'"):
        AnswerLeak(solution_key="solutoin").apply([group(attempt("correct"), metadata={"solution": "text"})], 0)


@pytest.mark.parametrize(
    ("text", "scripts", "kept"),
    [
        ("The answer is 3.", ("latin",), True),
        ("The 答案 is 3.", ("latin",), False),
        ("ответ: 3", ("latin",), False),
        ("ответ: 3", ("cyrillic",), True),
        ("答えは三です", ("cjk", "hiragana"), True),
        ("sin θ ≈ ∑ 𝛼ₙ, ℝ², ５ µm Å", ("latin",), True),
        ("1 + 2 = 3", ("cyrillic",), True),
        ("", ("latin",), True),
        ("naïve façade " * 20 + "答", ("latin",), True),
    ],
)
def test_other_scripts_than_the_expected_are_found(
    text: str, scripts: Any, kept: bool, attempt: Callable[..., Any], group: Callable[..., Group]
) -> None:
    assert bool(Language(scripts=scripts).apply([group(attempt("correct", text))], 0)[0]) == kept


def test_letters_are_counted_by_script() -> None:
    assert letters_by_script("so 答案 \u0e01 𝑥²!") == Counter(latin=3, cjk=2, thai=1)


def test_of_like_questions_one_is_kept_and_the_others_are_like_it(group: Callable[..., Group]) -> None:
    templates = ("A bakery bakes {} loaves and sells {} of them. How many are left?", "Find the area of a circle with radius {}.")
    groups = [
        group(id=f"{kind}-{number}", prompt=text.format(number, number + 1))
        for kind, text in enumerate(templates)
        for number in range(5)
    ]
    kept, drops = OnePerCluster().apply(groups, 0)
    assert [name[0] for name in ids(kept)] == ["0", "1"]
    assert all(drop.match in ids(kept) and drop.match[0] == drop.problem_id[0] for drop in drops)


def test_each_source_has_its_own_cap(pool: list[Group]) -> None:
    kept, _ = CapPerSource(max_problems=4).apply(pool, 0)
    assert Counter(group.problem.source for group in kept) == {"a": 4, "b": 4}


def test_a_smaller_sample_is_part_of_a_larger_one_and_not_the_beginning_of_the_pool(pool: list[Group]) -> None:
    samples = [ids(Sample(num_problems=size).apply(pool, 0)[0]) for size in (3, 6, 18)]
    assert set(samples[0]) < set(samples[1]) < set(samples[2]) and samples[1] != ids(pool)[:6]


def test_a_sample_larger_than_the_pool_is_an_error(pool: list[Group]) -> None:
    with pytest.raises(InputError, match="asks for 19 problems where 18 are left"):
        Sample(num_problems=19).apply(pool, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "pass_rate", "low": 0.9, "high": 0.1}, {"name": "length_quantile", "low": 0.5, "high": 0.5}, {"name": "sample"},
        {"name": "language", "scripts": []}, {"name": "language", "scripts": ["english"]},
        {"name": "cap_per_source", "max_problems": 0}, {"name": "first_n"},
        {"name": "difficulty"}, {"name": "difficulty", "low": 1, "labels": ["HARD"]}, {"name": "difficulty", "low": 2, "high": 1},
        {"name": "answer_leak", "citations": ["("]},
    ],
)  # fmt: skip
def test_settings_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        parse(Picked, {"operation": wrong})
