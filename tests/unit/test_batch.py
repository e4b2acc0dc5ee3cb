import pytest
import torch

from rl_distill.batch import Candidates, collate, source_names, totals
from rl_distill.trajectory import Sample, Trajectory


def sample(tokens=(5, 6, 7), sampled=(False, True, True), **changes):
    names = ("behavior_logprobs", "reference_logprobs", "problem_id", "candidate_ids", "teacher_candidate_logprobs")
    columns = {name: changes.pop(name) for name in names if name in changes}
    trajectory = Trajectory(
        **{"problem_id": "p", "messages": (), "model": "m", "origin": "policy", **columns}, token_ids=tokens, sampled=sampled
    )
    return Sample(trajectory=trajectory, **changes)


STEP = [
    sample(unit="a"),
    sample(unit="a", label=-1, tokens=(5, 6, 7, 8), sampled=(False, True, True, True)),
    sample(source="teacher", advantage=2.0),
    sample(source="teacher"),
    sample(lesson=True),
]


def test_totals_count_tokens_rows_units_and_lessons_of_each_source():
    found = totals(STEP, source_names(STEP))
    assert source_names(STEP) == ("", "teacher")
    assert found.tokens.tolist() == [5, 4] and found.sequences.tolist() == [2, 2]
    assert found.units.tolist() == [1, 2] and found.lesson_tokens.tolist() == [2, 1]


def test_a_source_without_rows_divides_by_one():
    found = totals([], ("", "x"))
    assert [column.tolist() for column in (found.tokens, found.sequences, found.units, found.lesson_tokens)] == [[1, 1]] * 4


def test_totals_of_a_split_step_add_up():
    whole, names = totals(STEP, source_names(STEP)), source_names(STEP)
    parts = [totals(STEP[:2], names), totals(STEP[2:4], names)]
    assert whole.tokens[0] == parts[0].tokens[0] and whole.tokens[1] == parts[1].tokens[1]


def test_rows_are_padded_on_the_right_and_masked():
    batch = collate(STEP[:2], pad_id=9, sources=("",))
    assert batch.token_ids.tolist() == [[5, 6, 7, 9], [5, 6, 7, 8]]
    assert batch.attention_mask.tolist() == [[True, True, True, False], [True] * 4]
    assert batch.loss_mask.tolist() == [[False, True, True, False], [False, True, True, True]]
    assert not batch.lesson_mask.any() and batch.labels.tolist() == [1, -1]


def test_a_lesson_is_imitated_and_nothing_else():
    batch = collate(STEP, pad_id=0, sources=source_names(STEP))
    assert batch.lesson_mask.sum(1).tolist() == [0, 0, 0, 0, 2] and batch.loss_mask.sum(1).tolist() == [2, 3, 2, 2, 0]
    assert not (batch.lesson_mask & batch.loss_mask).any()
    assert batch.advantages.tolist() == [0, 0, 2, 0, 0] and batch.sources.tolist() == [0, 0, 1, 1, 0]


def test_rows_share_a_number_exactly_where_they_share_a_unit():
    assert collate(
        [sample(unit="a"), sample(), sample(unit="b"), sample(unit="a"), sample()], pad_id=0, sources=("",)
    ).units.tolist() == [0, 1, 2, 0, 3]


def test_a_column_is_there_for_all_rows_or_for_none():
    scored = sample(behavior_logprobs=(0.0, -1.0, -2.0))
    batch = collate([scored, sample(tokens=(5,), sampled=(True,), behavior_logprobs=(-3.0,))], pad_id=0, sources=("",))
    assert batch.behavior_logprobs.tolist() == [[0, -1, -2], [-3, 0, 0]] and batch.reference_logprobs is None
    with pytest.raises(ValueError, match="behavior_logprobs: missing for problem 'bare'"):
        collate([scored, sample(problem_id="bare")], pad_id=0, sources=("",))


def test_moving_a_batch_keeps_every_column():
    batch = collate([sample(behavior_logprobs=(0.0, -1.0, -2.0))], pad_id=0, sources=("",)).to(torch.device("cpu"))
    assert batch.behavior_logprobs is not None and batch.reference_logprobs is None


def test_entries_of_candidates_stand_at_their_tokens():
    ids, logprobs = ((), (3, 4), (5, 6)), ((), (-1.0, -2.0, -3.0), (-4.0, -5.0, -6.0))
    rows = [sample(candidate_ids=ids, teacher_candidate_logprobs=logprobs)] * 2
    batch = collate(rows, pad_id=0, sources=("",))
    assert batch.candidate_ids.tolist() == [[[0, 0], [3, 4], [5, 6]]] * 2
    assert batch.teacher_candidate_logprobs[1].tolist() == [[0, 0, 0], [-1, -2, -3], [-4, -5, -6]]
    compared = batch.compared(Candidates(count=2, temperature=3.0))
    assert compared.with_rest and compared.temperature == 3.0 and compared.ids is batch.candidate_ids
    assert batch.compared(None) is None and collate(rows, pad_id=0, sources=("",), columns=()).candidate_ids is None


def test_candidates_of_two_sizes_in_one_batch_are_refused():
    rows = [sample(candidate_ids=((), entry, entry)) for entry in ((3, 4), (3, 4, 5))]
    with pytest.raises(ValueError, match="candidate_ids: entries of 2 and of 3 tokens in one batch"):
        collate(rows, pad_id=0, sources=("",))
