"""What cells wait for, and what they are refused once it is known where they run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import rolled_out, taught, write_recipe

from rl_distill.errors import InputError
from rl_distill.recipe import load_recipe
from rl_distill.sweeps import sweep_run
from rl_distill.sweeps.cells import cells_of
from rl_distill.sweeps.plan import PlannedCell, plan
from rl_distill.sweeps.ray_cells import check_cluster, check_gpus
from rl_distill.sweeps.settings import Sweep, read_sweep_file
from rl_distill.training import shared_stages
from rl_distill.training.run import train

EVALUATION = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 4, "levels": [1]},
    "num_samples": 1,
    "sampling": {"max_tokens": 12},
}
COEF = "stages.redi.algorithm.negative_coef"
Planned = Callable[..., tuple[Sweep, list[PlannedCell]]]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planned:
    monkeypatch.setenv("RL_DISTILL_CACHE", str(tmp_path / "cache"))

    def call(**keys: Any) -> tuple[Sweep, list[PlannedCell]]:
        write_recipe(tmp_path, taught("sft"), taught("redi"), evaluation=EVALUATION)
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({"name": "tried", "recipe": "tiny.yaml", "folder": str(tmp_path / "out")} | keys))
        sweep = read_sweep_file(path)
        return sweep, plan(sweep.path, cells_of(sweep, path).cells)

    return call


def test_cells_wait_for_a_base_only_where_somebody_makes_it(planned: Planned) -> None:
    _, (one, other) = planned(grid={COEF: [0, 0.5]})
    base, sft = one.shared
    assert one.makes == other.makes == (one.cache, base, sft)
    train(one.cell.recipe, say=lambda line: None, shared=one.shared)
    assert one.cache is not None
    shutil.rmtree(one.cache)
    assert other.makes == (base, sft), "the store has the base, so that nobody fills the cache again"
    shutil.rmtree(base)
    assert other.cache in other.makes and one.cache not in one.makes, "one has its own"


def test_nobody_waits_for_a_cell_that_goes_on_with_what_other_code_began(planned: Planned, monkeypatch) -> None:
    _, (one, _) = planned(grid={COEF: [0, 0.5]})
    train(one.cell.recipe, say=lambda line: None, shared=one.shared)
    monkeypatch.setattr(shared_stages, "_package_digest", lambda: "other code")
    _, (one, other) = planned(grid={COEF: [0, 0.5]})
    assert one.makes == () and other.makes == (other.cache, *other.shared)


def test_the_stages_of_a_sweep_are_those_of_the_device_that_its_cells_hold(planned: Planned, monkeypatch) -> None:
    monkeypatch.setattr(sweep_run.torch.cuda, "is_available", lambda: True)
    sweep, _ = planned()
    without, _ = planned(gpus=0)
    assert sweep_run._on_gpu(sweep) and sweep_run._on_gpu(sweep, "auto")
    assert not sweep_run._on_gpu(without) and not sweep_run._on_gpu(without, "auto")
    monkeypatch.setattr(sweep_run.torch.cuda, "is_available", lambda: False)
    assert sweep_run._on_gpu(planned(gpus=1)[0], "auto")
    with pytest.raises(InputError, match="^gpus: is not said, and the cluster has some while this machine has none; set it to"):
        sweep_run._check_gpus(sweep, [], 1.0, "auto")
    sweep_run._check_gpus(sweep, [], 0.0, "auto")


def test_a_cell_that_starts_a_cluster_holds_what_its_workers_take(tmp_path: Path) -> None:
    def recipe(**cluster: Any) -> Any:
        return load_recipe(write_recipe(tmp_path, rolled_out(), cluster={"name": "ray", **cluster}).path)

    check_cluster(recipe(), cpus=2)
    check_cluster(recipe(engine={"cpus": 0.5}), cpus=1.5)
    check_gpus([recipe(), recipe(colocate=True)], 2)
    check_gpus([recipe(colocate=True)], 1)
    check_gpus([recipe(engine={"workers": 4})], 0)
    message = "^gpus: a cell holds 1, and the cluster that one starts takes 2 .learner 1 x 1, engine 1 x 1.; set it to 2, or"
    with pytest.raises(InputError, match=message):
        check_gpus([recipe()], 1)
    with pytest.raises(InputError, match="^gpus: a cell holds 0, and the cluster that one starts takes 1"):
        check_gpus([recipe(learner={"gpus": 1})], 0)
