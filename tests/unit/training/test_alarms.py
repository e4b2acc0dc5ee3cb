"""When each alarm fires, when it does not, and that what it has seen survives a restart."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.config import parse
from rl_distill.training.alarms import AlarmBoard, Alarms

HEALTHY = {
    "loss": 0.5,
    "gradient/norm": 1.0,
    "update/norm": 0.01,
    "update/relative": 1e-4,
    "learner/learning_rate": 1e-4,
    "logprob/chosen": -0.4,
    "credit/negatives": 4.0,
    "credit/weightless_negatives": 1.0,
    "group/zero_variance_fraction": 0.9,
    "reward/mean": 0.1,
    "policy/mismatch_kl": 1e-4,
}


def board(*, avoiding: tuple[str, ...] = ("", "redi"), **alarms) -> AlarmBoard:
    return AlarmBoard(parse(Alarms, alarms), avoiding)


def fired(watch: AlarmBoard, steps) -> list[tuple[int, str]]:
    """(step, alarm) of every alert; a step is what differs from a healthy one."""
    return [(index, alert.alarm) for index, step in enumerate(steps) for alert in watch.look(HEALTHY | step)]


def test_a_healthy_run_is_silent():
    assert fired(board(), [{}] * 100) == []


BAD = {  # alarm -> what a step of the kind that it is there for looks like, and the step at which it fires
    "not_finite": ({"loss": float("nan"), "learner/skipped": 1.0}, 0),
    "weightless_negatives": ({"credit/weightless_negatives": 4.0}, 9),
    "no_update": ({"gradient/norm": 0.0}, 4),
    "flat_reward": ({"group/zero_variance_fraction": 1.0, "reward/mean": 0.0}, 4),
    "mismatch": ({"policy/mismatch_kl": 0.5}, 0),
    "dropped_dialogues": ({"dialogue/dropped_fraction": 0.6}, 0),
}


@pytest.mark.parametrize("alarm", BAD)
def test_an_alarm_fires_once_after_its_patience_and_again_only_after_a_calm(alarm):
    step, first = BAD[alarm]
    steps = [step] * 30 + ([{}] * 19 + [step] * 12) * 2 + [{}] * 20 + [step] * 12
    assert fired(board(not_finite={"action": "warn"}), steps) == [(first, alarm), (112 + first, alarm)]


@pytest.mark.parametrize("alarm", BAD)
def test_one_step_less_than_its_patience_is_no_alarm(alarm):
    step, first = BAD[alarm]
    assert fired(board(), ([step] * first + [{}]) * 5) == []


@pytest.mark.parametrize("alarm", BAD)
def test_an_ignored_alarm_is_silent_and_a_stopping_one_fires_at_every_step(alarm):
    step, first = BAD[alarm]
    assert fired(board(**{alarm: {"action": "ignore"}}), [step] * 30) == []
    assert fired(board(**{alarm: {"action": "stop"}}), [step] * 12) == [(index, alarm) for index in range(first, 12)]


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("path", ["loss", "gradient/norm", "reward/mean", "beside/teacher/loss"])
def test_any_metric_that_is_not_finite_stops_the_run(bad, path):
    (alert,) = board().look(HEALTHY | {path: float(bad)})
    assert alert.action == "stop" and alert.text.startswith(f"{path} {bad}")


def test_steps_without_a_sample_and_steps_that_rounding_swallows_do_not_update():
    nothing = {key: value for key, value in HEALTHY.items() if not key.startswith(("update", "gradient", "loss"))}
    watch = board()
    texts = [alert.text for _ in range(5) for alert in watch.look(nothing)]
    assert len(texts) == 1 and "no group gave anything to train on" in texts[0]
    watch = board()
    texts = [alert.text for _ in range(5) for alert in watch.look(HEALTHY | {"update/relative": 1e-9})]
    assert len(texts) == 1 and "float32 rounds" in texts[0]


def falls(*values: float) -> list[dict[str, float]]:
    return [{"logprob/chosen": value} for value in values]


def test_chosen_log_probs_more_than_the_limit_below_their_start_are_a_collapse():
    watch = board(collapse={"window": 1})
    assert fired(watch, falls(-0.4, -0.5, -0.69, -0.71, -2.0)) == [(3, "collapse")]
    assert fired(board(collapse={"window": 1, "max_drop": 1.0}), falls(-0.4, -1.39, -1.41)) == [(2, "collapse")]


def test_the_papers_healthy_run_is_silent_and_each_of_its_collapses_is_heard():
    """Means read off the paper's figures every 400 steps, with its slow drift between them."""

    def path(*points: float):
        return falls(*[a + (b - a) * part / 400 for a, b in zip(points, points[1:], strict=False) for part in range(400)])

    assert fired(board(), path(-0.36, -0.42, -0.46, -0.48, -0.51)) == []
    for points in [(-0.36, -1.97, -2.79), (-0.36, -0.36, -0.37, -0.44, -1.49), (-0.36, -0.42, -1.71), (-0.36, -0.98, -1.1)]:
        assert [alarm for _, alarm in fired(board(), path(*points))] == ["collapse"]


@given(st.lists(st.floats(-0.14, 0.14), min_size=30, max_size=60))
def test_noise_of_single_steps_is_no_collapse(noise):
    """Whatever a few pairs a step do to the mean: two windows differ by at most the range."""
    assert fired(board(), falls(*[-0.4 + value for value in noise])) == []


@pytest.mark.parametrize("seed", range(5))
def test_steps_of_few_pairs_neither_hide_a_collapse_nor_feign_one(seed):
    """A spread of 0.15 nat from step to step, as 8 pairs of short answers have: a drift of 0.2 is healthy, one of 1.0 is not."""
    noise = Random(seed)
    steps = [noise.gauss(0, 0.15) for _ in range(100)]
    assert fired(board(), falls(*[-2.4 - 0.2 * place / 100 + value for place, value in enumerate(steps)])) == []
    alerts = fired(board(), falls(*[-2.4 - 1.0 * place / 100 + value for place, value in enumerate(steps)]))
    assert alerts and alerts[0][0] < 75


def test_log_probs_of_methods_that_avoid_nothing_may_fall():
    """SFT on other data lowers them too, and no wrong answer drags them down."""
    watch = board()
    steps = [
        {key: value for key, value in (HEALTHY | step).items() if "negatives" not in key}
        for step in falls(*[-0.4] * 10, *[-3.0] * 20)
    ]
    assert [alert for step in steps for alert in watch.look(step)] == []


def test_objectives_beside_the_stages_own_are_watched_for_themselves():
    watch = board(collapse={"window": 1})
    steps = [
        {"beside/redi/logprob/chosen": value, "beside/redi/credit/negatives": 2.0, "beside/redi/credit/weightless_negatives": 0.0}
        for value in (-0.4, -0.9)
    ]
    assert fired(watch, steps) == [(1, "collapse:redi")]
    assert watch.ringing() == {"beside/redi/alarm/collapse": 1.0}


@pytest.mark.parametrize("cut", range(0, 25, 4))
def test_a_restored_board_goes_on_where_the_saved_one_stood(cut):
    steps = falls(*[-0.4] * 12, *[-1.0] * 12) + [BAD["weightless_negatives"][0]] * 12
    whole, first, second = board(), board(), board()
    before = fired(first, steps[:cut])
    second.load_state(json.loads(json.dumps(first.state())))
    assert before + [(cut + step, alarm) for step, alarm in fired(second, steps[cut:])] == fired(whole, steps)


def test_a_saved_state_does_not_change_with_the_board():
    watch = board()
    watch.look(HEALTHY)
    state = watch.state()
    before = json.dumps(state)
    watch.look(HEALTHY | {"logprob/chosen": -3.0})
    assert json.dumps(state) == before


def test_an_alarm_that_is_ignored_from_now_on_forgets_what_it_saw():
    watch, other = board(), board(mismatch={"action": "ignore"})
    watch.look(HEALTHY | {"policy/mismatch_kl": 1.0})
    other.load_state(watch.state())
    assert other.ringing() == {} and watch.ringing() == {"alarm/mismatch": 1.0}


@pytest.mark.parametrize("steps", [1, 2, 4, 6, 10])
def test_a_collapse_within_a_few_steps_is_no_part_of_its_own_start(steps):
    fall = [-0.4 - 2.5 * min(1, (place + 1) / steps) for place in range(60)]
    alerts = fired(board(), falls(-0.4, *fall))
    assert alerts and alerts[0][0] < 20


def test_a_stage_shorter_than_the_window_is_watched_too():
    assert fired(board(), falls(-0.4, -0.4, -0.6, -1.2, -1.8, -2.4, -3.0, -3.0)) != []


def test_one_step_that_is_not_finite_does_not_blind_the_alarms_about_the_others():
    watch = board(not_finite={"action": "warn"})
    steps = falls(-0.4, float("nan"), *[-0.4] * 20)
    assert [alarm for _, alarm in fired(watch, steps)] == ["not_finite"] and watch.ringing() == {}
    assert [alarm for _, alarm in fired(watch, falls(*[-1.5] * 20))] == ["collapse"]


def test_an_objective_without_part_in_the_gradient_is_noticed():
    watch = board()
    share = {"gradient/share/main": 1.0, "gradient/share/negatives": 0.0}
    (text,) = [alert.text for _ in range(5) for alert in watch.look(HEALTHY | share)]
    assert "objective 'negatives' has no part in the gradient" in text


def test_flat_rewards_are_no_news_where_nothing_is_avoided():
    """Distillation may sample from the student without learning from rewards; the objective beside it may."""
    flat = {"group/zero_variance_fraction": 1.0, "beside/grpo/group/zero_variance_fraction": 1.0}
    for avoiding, heard in ((("",), ["flat_reward"]), ((), []), (("grpo",), ["flat_reward:grpo"])):
        assert [alarm for _, alarm in fired(board(avoiding=avoiding), [flat] * 12)] == heard


def test_the_alarm_about_negatives_leaves_flat_groups_to_the_one_about_rewards():
    step = {"group/zero_variance_fraction": 1.0, "credit/weightless_negatives": 4.0}
    assert {alarm for _, alarm in fired(board(), [step] * 30)} == {"flat_reward"}
