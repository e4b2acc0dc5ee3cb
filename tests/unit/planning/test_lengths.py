"""Lengths of responses: assumed with the mean that is asked for, or read from a run."""

import json

import pytest

from rl_distill.errors import InputError
from rl_distill.planning.lengths import assumed, of_run


@pytest.mark.parametrize(("maximum", "mean"), [(1024, 300.0), (40, 13.0), (4, 2.0), (16_384, 4000.0)])
def test_an_assumed_distribution_has_the_mean_and_the_limit(maximum, mean):
    found = assumed(maximum, mean)
    assert found.mean == pytest.approx(mean, rel=0.02) and max(found.quantiles) <= maximum and min(found.quantiles) >= 1
    assert f"{maximum} tokens" in found.origin and found.origin.startswith("assumed")


def test_the_longest_of_many_is_far_from_the_median():
    drawn = sorted(assumed(100_000, 1000).drawn(1001))
    assert drawn[-1] > 6 * drawn[500]


def test_drawn_lengths_keep_the_mean_and_are_the_same_every_time():
    found = assumed(1024, 300)
    drawn = found.drawn(512)
    assert sum(drawn) / 512 == pytest.approx(300, rel=0.02) and drawn == found.drawn(512) and drawn != sorted(drawn)


def test_longer_means_are_longer_attempt_by_attempt():
    short, long = assumed(1024, 100).drawn(64), assumed(1024, 400).drawn(64)
    assert all(a <= b for a, b in zip(short, long, strict=True))


@pytest.mark.parametrize("mean", [0.5, 2000.0])
def test_a_mean_that_cannot_be_is_refused(mean):
    with pytest.raises(InputError, match="--mean-tokens"):
        assumed(1024, mean)


def a_run(folder, attempts):
    lines = [{"stage": "grpo", "step": 0, "problem": "p", "attempts": [{"tokens": tokens} for tokens in attempts]}]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mean = sum(attempts) / len(attempts) - 10
    (folder / "metrics.jsonl").write_text(json.dumps({"stage": "grpo", "step": 0, "rollout/response_tokens": mean}) + "\n")


def test_a_runs_lengths_are_what_its_ledger_holds_less_the_prompt(tmp_path):
    a_run(tmp_path, [30, 20, 40, 50])
    found = of_run(tmp_path, "grpo", live=True)
    assert found.prompt == pytest.approx(10) and found.mean == pytest.approx(25, rel=0.01) and "4 attempts" in found.origin
    assert sorted(found.drawn(4)) == [10, 20, 30, 40]
    assert of_run(tmp_path, None, live=False).mean == pytest.approx(35, rel=0.01)


def test_a_folder_without_such_a_stage_is_refused(tmp_path):
    with pytest.raises(InputError, match="--lengths-from"):
        of_run(tmp_path, "grpo", live=True)
    a_run(tmp_path, [30])
    with pytest.raises(InputError, match="no attempt of stage 'sft'"):
        of_run(tmp_path, "sft", live=True)
