"""Themes 19, 26, 27: what was sampled is what is trained on, what is recorded, and what can be sampled and trained on again."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TEACHER, RecipeFile, rolled_out, taught, tiny_student

from rl_distill.errors import InputError
from rl_distill.models.loading import load_model, load_tokenizer
from rl_distill.recipe import load_recipe
from rl_distill.records import read_groups
from rl_distill.rollout.engine import Request
from rl_distill.rollout.hf_engine import HfEngine
from rl_distill.training.rollout_source import RolloutSourceConfig
from rl_distill.trajectory import Message, Trajectory

ROLLOUTS = Path("trajectories") / "rollouts.jsonl"


def bytewise(**changes: Any) -> dict[str, Any]:
    """A student that samples bytes of no valid text."""
    student = tiny_student()
    student["model"] |= {"tokenizer": {"name": "byte_bpe", "vocab_size": 300, "texts": TEACHER}, **changes}
    return student


@contextmanager
def trained_rows() -> Iterator[list[tuple[int, ...]]]:
    """Every row of token ids, padding included, that a model embeds while gradients are on."""
    rows: list[tuple[int, ...]] = []

    def note(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and torch.is_grad_enabled():
            rows.extend(map(tuple, inputs[0].tolist()))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield rows
    finally:
        hook.remove()


@pytest.fixture
def rolled(tiny_recipe: Callable[..., RecipeFile], cli: Callable[..., tuple[int, str, str]]) -> Callable[[], tuple[Any, ...]]:
    """A finished GRPO run of such a student: its recipe file, the rows it trained on, the attempts it recorded."""

    def run() -> tuple[RecipeFile, list[tuple[int, ...]], list[Trajectory]]:
        everything = {"name": "grpo", "kl_coef": 0.04}  # a KL pulls at attempts without credit too
        recipe = tiny_recipe(rolled_out(algorithm=everything), student=bytewise(), alarms={"flat_reward": {"action": "ignore"}})
        with trained_rows() as rows:
            assert cli("train", recipe.path)[0] == 0
        recorded = [one for group in read_groups(recipe.run_dir / ROLLOUTS) for one in group.trajectories]
        return recipe, rows, recorded

    return run


def row_of(attempt: Trajectory, rows: list[tuple[int, ...]]) -> bool:
    """Was it trained on as it stands, with nothing but padding behind it?"""
    length = len(attempt.token_ids)
    return any(row[:length] == attempt.token_ids and set(row[length:]) <= {row[-1]} for row in rows)


def own_ids(attempt: Trajectory) -> list[int]:
    return [token for token, mine in zip(attempt.token_ids, attempt.sampled, strict=True) if mine]


def test_theme_19_sampled_ids_are_trained_on_where_text_would_not_bring_them_back(rolled):
    recipe, rows, recorded = rolled()
    tokenizer = load_tokenizer(str(recipe.run_dir / "final"))
    drifting = [one for one in recorded if tokenizer.encode(one.response, add_special_tokens=False) != own_ids(one)]
    assert len(drifting) > len(recorded) / 2, "these attempts would survive being tokenised again: they prove nothing"
    assert len(recorded) == 12 and all(row_of(one, rows) for one in recorded)


@pytest.mark.parametrize("column", ["sampled", "behavior_logprobs", "policy_versions"])
def test_theme_19_a_column_that_does_not_fit_its_tokens_is_refused_wherever_it_comes_from(column, tmp_path):
    fits = Trajectory(
        problem_id="p",
        messages=(Message("user", "?"), Message("assistant", "4")),
        token_ids=(5, 6, 7),
        sampled=(False, True, True),
        behavior_logprobs=(0.0, -1.0, -2.0),
        policy_versions=(0, 1, 1),
        model="m",
        origin="policy",
    )
    plain = asdict(fits) | {column: getattr(fits, column)[:-1]}
    with pytest.raises(ValueError, match=f"{column}: has 2 entries for the 3 tokens of an attempt at 'p'"):
        Trajectory(**plain)
    plain["messages"] = [message._asdict() for message in fits.messages]
    problem = {"id": "p", "prompt": "?", "answer": None, "source": "test"}
    path = tmp_path / "cut.jsonl"
    path.write_text(json.dumps({"problem": problem, "trajectories": [plain]}) + "\n")
    with pytest.raises(InputError, match=f"cut.jsonl:1: is no group .{column}: has 2 entries"):
        list(read_groups(path))


def test_theme_26_recorded_rollouts_are_trained_on_again_token_for_token(rolled, cli, tmp_path):
    recipe, _, recorded = rolled()
    stage = taught(algorithm={"name": "sft", "traces": "all"})
    stage["source"] = {"name": "dataset", "problems": {"name": "records", "path": str(recipe.run_dir / ROLLOUTS)}}
    offline = recipe.change(stages=[stage], run_dir=str(tmp_path / "offline"))
    with trained_rows() as rows:
        assert cli("train", offline.path)[0] == 0
    assert all(row_of(one, rows) for one in recorded)


def test_theme_26_what_needs_fresh_rollouts_refuses_recorded_ones(tiny_recipe, cli, tmp_path):
    """A ratio to a sampler that is not the student's past would be wrong without anyone noticing."""
    stage = rolled_out()
    stage["source"] = {"name": "dataset", "problems": {"name": "records", "path": str(tmp_path / "any.jsonl")}}
    code, _, err = cli("train", tiny_recipe(stage).path)
    assert code == 2 and "stages.grpo.algorithm: 'grpo' trains on what the student samples; use a source with name rollout" in err


def test_theme_27_a_recorded_step_is_sampled_again_to_the_bit(rolled):
    """From the run folder alone: the student that the step began with, its prompts, its seeds, its settings."""
    recipe, _, recorded = rolled()
    settings = load_recipe(recipe.run_dir / "recipe.yaml")
    source = settings.stages[0].source
    assert isinstance(source, RolloutSourceConfig)
    base = str(recipe.run_dir / "stages" / "base" / "student")
    engine = HfEngine(load_model(base), load_tokenizer(base), settings.engine, name="again")
    first = [one for one in recorded if 1 not in (one.policy_versions or ())]
    requests = [
        Request(
            problem_id=one.problem_id,
            messages=one.messages[:-1],
            token_ids=one.token_ids[: -one.num_sampled],
            sampling=source.sampling,
            seed=one.seed or 0,
        )
        for one in first
    ]
    assert len(first) == 6
    for one, again in zip(first, engine.generate(requests), strict=True):
        assert (again.token_ids, again.behavior_logprobs) == (one.token_ids, one.behavior_logprobs)
        assert one.score is not None and one.response == again.response
