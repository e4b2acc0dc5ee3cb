"""A stage of a recipe as numbers: what a step samples, scores and trains on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rl_distill.algorithms.base import Algorithm, Need
from rl_distill.cluster.memory import ModelSize
from rl_distill.learning.learner import LearnerConfig
from rl_distill.models.lora import adapter_weights
from rl_distill.planning.decoding import Batching
from rl_distill.planning.dialogue_work import DialogueWork, Wave, dialogue_room, dialogue_work
from rl_distill.planning.lengths import Lengths
from rl_distill.planning.scoring import ScoringModel, scored_by
from rl_distill.recipe import Recipe
from rl_distill.rollout.dialogue import DialogueConfig
from rl_distill.rollout.engine import torch_dtype
from rl_distill.rollout.hf_engine import HfEngineConfig
from rl_distill.rollout.vllm_config import VllmEngineConfig
from rl_distill.training.dataset_source import DatasetSourceConfig
from rl_distill.training.flops import decoding_flops, forward_flops, training_flops
from rl_distill.training.model_shape import ModelShape, shape_of
from rl_distill.training.preflight import model_size, student_skeleton
from rl_distill.training.rollout_source import RolloutSourceConfig
from rl_distill.training.stages import Stage
from rl_distill.trajectory import Group, Problem, Score, Trajectory, Verdict

PROMPT_TOKENS = 256  # where nothing is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One step of a stage.

    group_size    attempts at one problem
    responses     sampled tokens of each attempt, in the order in which they are asked for; () where nothing is sampled
    prompt        tokens before a response
    units         what is trained on: (tokens, tokens with loss) of each row, by unit
    scored        references and teachers, each of which passes over all rows
    rescored      passes over all rows by the learner itself before it updates
    steps         of the stage; None where the recipe does not tell
    lengths       where the lengths come from, in words
    turns         sampled one after another, where responses come in dialogues; `responses` are theirs then
    """

    stage: str
    shape: ModelShape
    batching: Batching
    shard_size: int
    group_size: int
    responses: tuple[int, ...]
    prompt: int
    longest: int
    units: tuple[tuple[tuple[int, int], ...], ...]
    scored: tuple[ScoringModel, ...]
    rescored: int
    learner: LearnerConfig
    mini_batches: int
    max_staleness: int
    steps: int | None = None
    lengths: str
    turns: tuple[Wave, ...] = ()

    @property
    def waves(self) -> tuple[Wave, ...]:
        """What is sampled together, in order."""
        return self.turns or (Wave(responses=self.responses, prompt=self.prompt, group_size=self.group_size),)

    @property
    def online(self) -> bool:
        return bool(self.responses)

    @property
    def sampled_tokens(self) -> int:
        return sum(self.responses)

    @property
    def trained_tokens(self) -> int:
        """Tokens with loss."""
        return sum(wanted for unit in self.units for _, wanted in unit)

    @property
    def flops(self) -> float:
        """Of student, reference and teacher, as `max_flops` counts them: a prompt once for the attempts that share it.

        An upper bound where attempts of flat groups are run forward only: nobody knows beforehand how many there will be.
        """
        rows = [row for unit in self.units for row in unit]
        counts = {
            "tokens": sum(tokens for tokens, _ in rows),
            "squares": sum(tokens**2 for tokens, _ in rows),
            "logits": sum(wanted for _, wanted in rows),
        }
        readers = [*(model.shape for model in self.scored), *[self.shape] * self.rescored]
        trained = training_flops(self.shape, **counts, checkpointing=self.learner.gradient_checkpointing)
        sampled = sum(_sampled_flops(self.shape, wave) for wave in self.waves) if self.online else 0.0
        return trained + sum(forward_flops(shape, **counts) for shape in readers) + sampled


LengthsOf = Callable[[Stage, bool, int], Lengths]  # a stage, whether it samples, the longest response


def workload(
    recipe: Recipe, stage: Stage, shape: ModelShape, lengths_of: LengthsOf, *, prompt: int | None, context: int
) -> Workload:
    """A stage's step. Objectives beside its own are added; each attempt is taken to be trained on, and no group to be refilled.

    Args:
        lengths_of: the distribution of responses for a source.
        prompt: tokens before a response; None is what a past run says, or `PROMPT_TOKENS` as far as the context has room.
        context: the student's longest sequence.
    """
    responses: list[int] = []
    units: list[tuple[tuple[int, int], ...]] = []
    turns: list[Wave] = []
    told, prompts, longest, group_size, ahead = [], [], [], 1, 0
    for objective in stage.objectives:
        source, algorithm = objective.source, objective.algorithm
        if isinstance(source, RolloutSourceConfig) and source.dialogue is not None:
            talked, before, origin = _dialogues(source, source.dialogue, algorithm, stage, lengths_of, prompt, context)
            turns += talked.waves
            units += [(row,) for row in talked.rows]
            told.append(origin)
            prompts.append(before)
            longest.append(talked.longest)
            continue
        ceiling, groups, attempts, live = _asked(source, context)
        lengths = lengths_of(stage, live, ceiling)
        before = _prompt_tokens(prompt, lengths, context - ceiling)
        of_group = rows_by_unit(algorithm, attempts)
        rows = [(before + tokens, tokens) for tokens in lengths.drawn(groups * sum(of_group))]
        units += _units(rows, of_group * groups)
        told.append(lengths.origin)
        prompts.append(before)
        longest.append(before + ceiling)
        if live:
            responses += lengths.drawn(groups * attempts)
            group_size, ahead = attempts, max(ahead, getattr(source, "max_staleness", 0))
    if turns and responses:
        turns.append(Wave(responses=tuple(responses), prompt=max(prompts), group_size=group_size))
    if turns:
        responses = [tokens for wave in turns for tokens in wave.responses]
    needs = [objective.algorithm.needs for objective in stage.objectives]
    found = Workload(
        stage=stage.name,
        shape=shape,
        batching=batching(recipe),
        shard_size=recipe.engine.shard_size,
        group_size=group_size,
        responses=tuple(responses),
        prompt=_mean_prompt(turns) if turns else max(prompts),
        longest=max(longest),
        units=tuple(units),
        scored=tuple(model for objective in stage.objectives for model in scored_by(recipe, objective, shape)),
        rescored=sum(Need.PROXIMAL_LOGPROBS in need and stage.mini_batches > 1 for need in needs),
        learner=stage.learner,
        mini_batches=stage.mini_batches,
        max_staleness=ahead,
        lengths="; ".join(dict.fromkeys(told)),
        turns=tuple(turns),
    )
    return replace(found, steps=_steps(stage, found))


def _dialogues(
    source: RolloutSourceConfig,
    dialogue: DialogueConfig,
    algorithm: Algorithm,
    stage: Stage,
    lengths_of: LengthsOf,
    prompt: int | None,
    context: int,
) -> tuple[DialogueWork, int, str]:
    """The work of dialogues, the tokens of each probe and problem, and where the lengths come from."""
    answers = lengths_of(stage, True, source.sampling.max_tokens)
    replies = lengths_of(stage, True, dialogue.reply_tokens)
    asked = _prompt_tokens(prompt, answers, dialogue_room(source, dialogue, context))
    work = dialogue_work(source, dialogue, algorithm, _attempt, asked=asked, replies=replies, answers=answers)
    return work, asked, f"{answers.origin} (answers); {replies.origin} (replies to probes)"


def _sampled_flops(shape: ModelShape, wave: Wave) -> float:
    prompts, read = -(-len(wave.responses) // wave.group_size), max(0, wave.prompt - 1)
    context = sum((2 * wave.prompt + tokens - 1) * tokens // 2 for tokens in wave.responses)
    decoded = decoding_flops(shape, tokens=sum(wave.responses), context=context)
    return decoded + forward_flops(shape, tokens=prompts * read, squares=prompts * read**2)


def _mean_prompt(waves: Sequence[Wave]) -> int:
    return round(sum(wave.prompt * len(wave.responses) for wave in waves) / sum(len(wave.responses) for wave in waves))


def _asked(source: DatasetSourceConfig | RolloutSourceConfig, context: int) -> tuple[int, int, int, bool]:
    """(longest response, groups of a step, attempts of a group, whether they are sampled).

    Of a data set's group a right and a wrong attempt are looked at.
    """
    if isinstance(source, RolloutSourceConfig):
        return source.sampling.max_tokens, source.prompts_per_step, source.group_size, True
    return source.max_response_tokens or source.max_tokens or context, source.groups_per_step, 2, False


def _prompt_tokens(given: int | None, lengths: Lengths, room: int) -> int:
    """What the user says, else what a run has, else an assumption that leaves the longest response its room."""
    if given is not None:
        return given
    return round(lengths.prompt) if lengths.prompt is not None else max(1, min(PROMPT_TOKENS, room))


def batching(recipe: Recipe) -> Batching:
    """How the recipe's engine decodes."""
    engine, weight_bytes = recipe.engine, torch_dtype(recipe.engine.dtype).itemsize
    rows = engine.max_sequences if isinstance(engine, VllmEngineConfig) else engine.max_concurrent
    name: Literal["hf", "vllm"] = "hf" if isinstance(engine, HfEngineConfig) else "vllm"
    return Batching(
        engine=name,
        max_rows=min(rows, engine.shard_size),
        prefill_tokens=engine.prefill_tokens,
        weight_bytes=weight_bytes,
    )


def student_shape(recipe: Recipe, tokenizer: Any) -> ModelShape:
    """The student's sizes from its configuration, without weights.

    Raises:
        InputError: the model cannot be found, or is no dense decoder.
    """
    model = student_skeleton(recipe.student, tokenizer)
    plain = shape_of(
        model, ModelSize(trained=0, frozen=0, weight_bytes=1), tensors=len(list(model.parameters())), outgoing_bytes=0
    )
    size = model_size(recipe, model)  # the model has its adapters from here on
    if size.frozen and isinstance(recipe.engine, HfEngineConfig):  # an engine of another kind gets them merged
        return replace(plain, size=size, tensors=len(adapter_weights(model)), outgoing_bytes=size.trained * size.weight_bytes)
    return replace(plain, size=size, outgoing_bytes=(size.frozen or size.trained) * size.weight_bytes)


def rows_by_unit(algorithm: Algorithm, attempts: int) -> list[int]:
    """Rows of each unit that an algorithm takes from a group whose attempts are right and wrong in turns."""
    group = Group(
        problem=Problem(id="p", prompt="", answer="1", source="plan"),
        trajectories=tuple(_attempt(right=place % 2 == 0) for place in range(attempts)),
    )
    units: dict[object, int] = {}
    for place, sample in enumerate(algorithm.samples(group)):
        units[sample.unit or place] = units.get(sample.unit or place, 0) + 1
    return list(units.values())


def _attempt(*, right: bool) -> Trajectory:
    verdict = Verdict(status="correct" if right else "wrong", method="plan")
    return Trajectory(
        problem_id="p",
        messages=(),
        token_ids=(0, 1),
        sampled=(False, True),
        behavior_logprobs=(0.0, -1.0),
        reference_logprobs=(0.0, -1.0),
        policy_versions=(0, 0),
        model="plan",
        origin="policy",
        score=Score(value=float(right), verdict=verdict),
    )


def _units(rows: Sequence[tuple[int, int]], sizes: Sequence[int]) -> list[tuple[tuple[int, int], ...]]:
    cut, start = [], 0
    for size in sizes:
        cut.append(tuple(rows[start : start + size]))
        start += size
    return cut


def _steps(stage: Stage, step: Workload) -> int | None:
    """As far as the recipe tells without its data being read: a data set that says how long it is counts whole.

    None for a length in seconds too: how long a step takes is a matter of the machine.
    """
    if stage.steps is not None:
        return stage.steps
    budgets = (
        (stage.max_generated_tokens, step.sampled_tokens),
        (stage.max_trained_tokens, step.trained_tokens),
        (stage.max_flops, step.flops),
    )
    for budget, spent in budgets:
        if budget is not None:
            return math.ceil(budget / spent) if spent else None
    count = getattr(stage.source.problems, "num_problems", None)
    if isinstance(count, int) and stage.epochs is not None and not isinstance(stage.source, RolloutSourceConfig):
        return math.ceil(count * stage.epochs / stage.source.groups_per_step)
    return None
