"""The best layout: never slower with more devices, balanced, and within memory."""

from dataclasses import replace

import pytest

from rl_distill.cluster.settings import LearnerPlaces
from rl_distill.planning.forecast import forecast
from rl_distill.planning.layout import Layout, fits, shard_seconds, sync_seconds, train_seconds
from rl_distill.planning.search import best, candidates

BASE = Layout(engines=1, learner=LearnerPlaces(zero_stage=2), scorers=0)


def test_more_devices_are_never_slower(stage, h100):
    work = stage(groups=64)
    for ahead in (True, False):
        times = []
        for devices in (2, 3, 4, 6, 8, 12, 16):
            chosen = best(candidates(work, BASE, h100, devices, 2), ahead=ahead)
            assert chosen.layout.devices <= devices
            times.append(chosen.ahead if ahead else chosen.waiting)
        assert all(more <= fewer * (1 + 1e-9) for fewer, more in zip(times, times[1:], strict=False)), times


def test_ranks_that_cost_more_than_they_bring_stay_idle(stage, h100):
    slow = replace(h100, link=replace(h100.link, value=1e9), network=replace(h100.network, value=1e9))
    assert {one.layout.learner.ranks for one in candidates(stage(), BASE, slow, 6, 1) if not one.layout.colocate} == {1}
    assert max(one.layout.learner.ranks for one in candidates(stage(), BASE, h100, 6, 1)) > 1


def test_longer_responses_never_make_a_step_shorter(stage, h100):
    layout = replace(BASE, engines=4, learner=LearnerPlaces(ranks=2, zero_stage=2))
    times = [forecast(stage(mean=mean), layout, h100).step for mean in (50, 100, 200, 400, 600)]
    assert times == sorted(times)


def test_the_best_split_is_where_sampling_and_learning_take_equally_long(stage, h100):
    """With an engine less sampling is the slower side, with one more (and a rank less) learning is slower than it was."""
    work = stage(groups=128, group_size=16)
    found = [one for one in candidates(work, BASE, h100, 16, 2) if not one.layout.colocate]
    chosen = best(found, ahead=True)
    by_engines = {one.layout.engines: one for one in found}
    fewer, more = by_engines.get(chosen.layout.engines - 1), by_engines.get(chosen.layout.engines + 1)
    assert fewer is not None and more is not None, "the best one is not at an end"
    assert fewer.generate >= chosen.ahead * (1 - 1e-9) or fewer.learn >= chosen.ahead * (1 - 1e-9)
    assert more.learn >= chosen.learn
    assert chosen.ahead == pytest.approx(
        max(sum(shard_seconds(work, chosen.layout, h100)) / chosen.layout.engines, chosen.learn), rel=0.15
    )


def test_a_layout_that_does_not_fit_is_no_candidate(stage, h100):
    small = replace(h100, memory_bytes=replace(h100.memory_bytes, value=24e9))
    base = replace(BASE, learner=LearnerPlaces(zero_stage=3))
    assert not fits(stage(), base, small)
    assert all(one.layout.learner.ranks > 1 for one in candidates(stage(), base, small, 8, 1))
    tiny = replace(h100, memory_bytes=replace(h100.memory_bytes, value=4e9))
    assert candidates(stage(), base, tiny, 8, 1) == []


def test_what_shares_devices_gains_nothing_by_running_ahead(stage, h100):
    found = forecast(stage(), replace(BASE, colocate=True), h100)
    assert {found.gain(bound) for bound in found.ahead} == {1.0}
    apart = forecast(stage(), BASE, h100)
    assert apart.ahead[0] == pytest.approx(apart.phases.step) and apart.gain(1) > 1


def test_ranks_divide_the_arithmetic_and_pay_for_their_traffic(stage, h100):
    work = stage(groups=64)
    one, two = (train_seconds(work, replace(BASE, learner=LearnerPlaces(ranks=n)), h100) for n in (1, 2))
    assert one / 2 < two < one
    slow = replace(h100, link=replace(h100.link, value=1e8))
    assert train_seconds(work, replace(BASE, learner=LearnerPlaces(ranks=2)), slow) > one


def test_an_update_takes_its_bytes_over_the_link(stage, h100):
    work = stage()
    direct = sync_seconds(work, replace(BASE, transport="nccl"), h100)
    assert direct == pytest.approx(work.shape.tensors * 5e-4 + work.shape.outgoing_bytes / 450e9)
    far = sync_seconds(work, replace(BASE, transport="nccl", hosts=2), h100)
    assert far - direct == pytest.approx(work.shape.outgoing_bytes * (1 / 50e9 - 1 / 450e9))
    assert sync_seconds(replace(work, responses=()), BASE, h100) == 0


def test_an_update_goes_to_every_other_host_over_the_network(stage, h100):
    work = stage()
    one, three = (sync_seconds(work, replace(BASE, hosts=hosts), h100) for hosts in (1, 3))
    assert one == pytest.approx(2 * 0.01 + work.shape.tensors * 5e-4 + work.shape.outgoing_bytes / 1e9)
    assert three - one == pytest.approx(2 * work.shape.outgoing_bytes / 50e9)


def test_an_engine_without_room_for_keys_and_values_decodes_fewer_rows_and_longer(stage, h100):
    tight = replace(h100, memory_bytes=replace(h100.memory_bytes, value=3.6e9))
    assert sum(shard_seconds(stage(), BASE, tight)) > 1.2 * sum(shard_seconds(stage(), BASE, h100))
