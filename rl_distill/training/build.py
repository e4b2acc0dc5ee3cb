"""From a recipe to live objects: the one place where names become things."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rl_distill.algorithms.base import REFERENCE_NEEDS, TEACHER_NEEDS
from rl_distill.cluster.host import Host, LearnerSpec, MakeModel
from rl_distill.cluster.local_host import LocalHost
from rl_distill.cluster.memory import ModelSize
from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import RunError
from rl_distill.evaluation.evaluator import EvaluationResult, Evaluator
from rl_distill.learning.learner import Learner
from rl_distill.learning.loss_term import MAIN, LossTerm
from rl_distill.learning.scorer import Scorer, ScorerConfig
from rl_distill.models.loading import load_model, save_pretrained
from rl_distill.models.token_match import check_scoring_model
from rl_distill.models.weights import WeightUpdate, whole_update
from rl_distill.recipe import BASE, RECORDED, Recipe
from rl_distill.rollout.collector import Prompt
from rl_distill.rollout.engine import Engine, Sampling, StreamingEngine, load_checked, torch_dtype
from rl_distill.rollout.hf_engine import HfEngineConfig
from rl_distill.rollout.inline_sampler import InlineSampler
from rl_distill.rollout.scripted import ReplayedEngine, Script, ScriptedSampling
from rl_distill.training.dataset_source import DatasetSource, DatasetSourceConfig, nothing_to_learn
from rl_distill.training.inputs import Inputs, field_of, interviewer_of, learnt_by, named
from rl_distill.training.loop import Feed, Parts
from rl_distill.training.preflight import check_devices, engine_gpus, ineffective_keys, preflight, student_skeleton
from rl_distill.training.rollout_source import RolloutSource, RolloutSourceConfig
from rl_distill.training.rounds import Sampler
from rl_distill.training.sources import Source
from rl_distill.training.stage_limit import limit_of
from rl_distill.training.stages import Beside, Objective, Training
from rl_distill.training.student import SeededModel, prompter
from rl_distill.training.tokenized import Tokenized
from rl_distill.training.weight_sync import WeightSync, tolerance_of
from rl_distill.trajectory import Group

CANARY_TOKENS = 16

Say = Callable[[str], None]


class Workshop:
    """Makes what a stage runs on. The engine and the evaluator are made once and serve all stages of a run.

    Args:
        scratch: folder for what lives as long as the run is open; on a cluster of several hosts all of them see it.
        say: takes a line for the user.
        script: which weights each shard is to meet; none lets it meet what comes.
    """

    def __init__(
        self,
        recipe: Recipe,
        scratch: Path,
        saved_base: Path | None = None,
        *,
        say: Say = print,
        script: Script | None = None,
    ) -> None:
        self.recipe, self.scratch = recipe, scratch
        self.prompter = prompter(recipe.student, saved_base)
        self.tokenizer = self.prompter.tokenizer
        self._inputs = Inputs(self.prompter, recorded=recipe.teacher == RECORDED)
        self._size = preflight(recipe, self.tokenizer)
        self._script = script
        self._host = _host(recipe, self._size, say)
        self._start: str | None = None  # of the newest stage: a folder or hub name, or None for the weights of the seed
        self._engine: Engine | None = None
        self._evaluator: Evaluator | None = None
        self._open: list[Any] = []  # the learner and the scorers of the newest stage

    def parts(self, name: str, training: Training, start: str | None, teacher: str | None = None) -> Parts:
        """Everything the loop needs for one stage; what the stage before had is given back.

        Args:
            start: folder or hub name of the student that the stage goes on with; None is the weights of the seed.
            teacher: folder or hub name; none where nobody is learnt from, or where a data set has what the teacher said.
        """
        self._close_stage()
        self._start = start
        main = self._source(name, training, training.steps)
        steps = self._steps(training, main)
        sources = [main, *(self._source(name, objective, steps) for objective in training.beside)]
        learner = self._learner(name, training, steps)
        terms = [_term(objective) for objective in training.objectives]
        references = self._references(training, start)
        teachers = self._teachers(training, teacher)
        return Parts(
            feeds=tuple(
                Feed(term=term, source=source, reference=one, teacher=other)
                for term, source, one, other in zip(terms, sources, references, teachers, strict=True)
            ),
            learner=learner,
            sync=self._sync(name, training, learner),
            mini_batches=training.mini_batches,
            steps=steps,
            limit=limit_of(self.recipe, name, training, self.tokenizer),
        )

    def _learner(self, name: str, training: Training, steps: int | None) -> Learner:
        """A learner of the stage's student: with adapters, if the recipe has any, but for the base, which is trained whole."""
        start, dtype = self._start, torch_dtype(self.recipe.engine.dtype)
        lora = None if name == BASE else self.recipe.student.lora
        merged = lora is not None and not isinstance(self.recipe.engine, HfEngineConfig)
        if lora is not None and not merged and start is not None and self._engine is not None:
            load_checked(self._engine, whole_update(load_model(start), dtype))  # adapters travel without what they are beside
        make = self._maker(start)
        learner = self._host.learner(
            LearnerSpec(
                make_model=make if lora is None else lora.maker(make, self.recipe.seed, name),
                tokenizer=self.tokenizer,
                terms=[_term(objective) for objective in training.objectives],
                config=training.learner,
                total_steps=None if steps is None else steps * training.mini_batches,
                publish_dtype=dtype,
                publish_merged=merged,
            )
        )
        self._open.append(learner)
        return learner

    def close(self, *, failed: bool = False) -> None:
        """Give back everything, workers on other machines included.

        Args:
            failed: something went wrong: workers are ended and no longer asked, or their silence would hide what failed first.
        """
        with ExitStack() as stack:  # each is done whatever the others raise; the last one first
            stack.callback(self._host.close, failed=failed)
            if self._engine is not None:
                stack.callback(self._engine.close)
            if not failed:
                stack.callback(self._close_stage)

    def give_up_stage(self) -> None:
        """A worker was lost that the stage cannot do without: give back what is left, so that `parts` starts it anew."""
        while self._open:
            with suppress(RunError):
                self._open.pop().close()
        if getattr(self._engine, "ended", False):
            self._engine = None

    def check(self, trainings: Mapping[str, Training]) -> list[str]:
        """Read what stages learn from and what students are measured on, before hours of training.

        Returns a line for each key without an effect here, and for each data set that only a part of is learnt from.

        Raises:
            InputError: it cannot be found, read, put to the student or graded.
        """
        if self.recipe.reference is not None:
            check_scoring_model(self.tokenizer, self.recipe.reference, field="reference")
        teacher = self.recipe.scoring_teacher
        if teacher is not None and not self.recipe.is_student(teacher):
            check_scoring_model(self.tokenizer, teacher, field="teacher")
        check_devices(self.recipe, self._host.machines, self._size)
        notes = [f"note: {line}" for line in ineffective_keys(self.recipe, self._host.machines)]
        for name, training in trainings.items():
            for objective in training.objectives:
                notes += self._inputs.check(field_of(name, objective), objective)
        if self.recipe.evaluation is not None and self._evaluator is None:
            with named("evaluation"):
                self._evaluator = Evaluator(self.recipe.evaluation, self.prompter, self.recipe.seed)
        return notes

    def evaluate(self, update: WeightUpdate | None) -> tuple[EvaluationResult | None, Sequence[Group]]:
        """Measure published weights on the recipe's held-out problems; (None, []) if the recipe measures nothing.

        Args:
            update: None for the weights that the engine holds.
        """
        settings = self.recipe.evaluation
        if settings is None:
            return None, []
        engine = self._shared_engine()
        if self._evaluator is None:
            self._evaluator = Evaluator(settings, self.prompter, self.recipe.seed)
        if update is not None:
            load_checked(engine, update)
        return self._evaluator.evaluate(engine)

    def evaluate_model(self, path: str) -> tuple[EvaluationResult | None, Sequence[Group]]:
        """Measure a student that no stage of this run trains: the base as it comes."""
        if self.recipe.evaluation is None:
            return None, []
        self._start = path
        return self.evaluate(whole_update(load_model(path), torch_dtype(self.recipe.engine.dtype)))

    def _maker(self, start: str | None) -> MakeModel:
        """Makes the student from a folder or the hub, or, for None, with the initial weights of its seed."""
        if start is not None:
            return partial(load_model, _anywhere(start))
        model = self.recipe.student.model
        assert isinstance(model, SeededModel), "only a seeded student starts from nothing"
        return partial(model.build, self.tokenizer)

    def _shared_engine(self) -> Engine:
        """The run's engine, made for the architecture of the newest stage's student, which all students of a run share."""
        if self._engine is None:
            folder = self._start
            if folder is None:
                folder = str(self.scratch / "student")
                save_pretrained(self._maker(None)(), self.tokenizer, Path(folder))
            engine: Any = self._host.engine(_anywhere(folder), self.tokenizer, self.recipe.engine, name=self.recipe.name)
            if self._script is not None and isinstance(engine, ScriptedSampling):
                engine = ReplayedEngine(engine, self._script, memory=self._max_staleness() + 1)
            self._engine = engine
        return self._engine

    def _max_staleness(self) -> int:
        """Of all sources that sample."""
        sources = [objective.source for stage in self.recipe.stages for objective in stage.objectives]
        return max((source.max_staleness for source in sources if isinstance(source, RolloutSourceConfig)), default=0)

    def _sync(self, stage: str, training: Training, learner: Learner) -> WeightSync | None:
        """The way of weights to the engine, looked at through the first problem that the stage samples."""
        for objective in training.objectives:
            if isinstance(objective.source, RolloutSourceConfig):
                prompt = self._inputs.of(field_of(stage, objective), objective)[0]
                assert isinstance(prompt, Prompt), "rollouts start from prompts"
                sampling = Sampling(
                    temperature=objective.temperature, max_tokens=min(CANARY_TOKENS, objective.source.sampling.max_tokens)
                )
                canary = prompt.request(sampling, self.recipe.seed, stage, "canary")
                tolerance = tolerance_of(self.recipe.sync, self.recipe.engine.dtype, training.learner.precision)
                return WeightSync(learner, self._shared_engine(), canary, self.recipe.sync, tolerance)
        return None

    def _close_stage(self) -> None:
        while self._open:
            self._open.pop().close()

    def _source(self, stage: str, objective: Objective, steps: int | None) -> Source:
        model = self.recipe.student.model
        seed = model.seed if stage == BASE and isinstance(model, SeededModel) else self.recipe.seed
        settings, problems, learnt = (
            objective.source,
            self._inputs.of(field_of(stage, objective), objective),
            learnt_by(objective),
        )
        if isinstance(settings, DatasetSourceConfig):
            assert isinstance(problems, Tokenized), "a data set is tokenised"
            return DatasetSource(settings, problems, learnt, self.prompter.max_context, seed)
        assert not isinstance(problems, Tokenized), "rollouts start from prompts"
        place = f"{stage}.{objective.name}" if isinstance(objective, Beside) else stage
        refills = objective.algorithm.max_refills
        engine = self._shared_engine()
        sampler = engine if isinstance(engine, StreamingEngine) else InlineSampler(engine)
        self._open.append(_Abandoning(sampler))
        interviewer = interviewer_of(objective, self.prompter)
        return RolloutSource(settings, problems, sampler, learnt, refills, seed, place, steps, interviewer)

    def _steps(self, training: Training, source: Source) -> int | None:
        if training.epochs is None:
            return training.steps
        assert isinstance(source, DatasetSource), "epochs are for data sets"
        count = source.count()
        if count == 0:
            raise nothing_to_learn(source.groups.field, len(source.groups))
        return math.ceil(count * training.epochs / source.settings.groups_per_step)

    def _references(self, training: Training, start: str | None) -> list[Scorer | None]:
        """The reference for each objective that compares with one: the same model, at the objective's temperature."""
        reference = self.recipe.reference
        make = partial(load_model, _anywhere(reference), field="reference") if reference else self._maker(start)
        return [
            self._scorer(make, _scoring(objective, training, self.tokenizer))
            if objective.algorithm.needs & REFERENCE_NEEDS
            else None
            for objective in training.objectives
        ]

    def _teachers(self, training: Training, teacher: str | None) -> list[Scorer | None]:
        """The teacher for each objective that learns from one, asked for what its algorithm needs; none where it is recorded."""
        found: list[Scorer | None] = []
        for objective in training.objectives:
            if teacher is None or not objective.algorithm.needs & TEACHER_NEEDS:
                found.append(None)
                continue
            model = student_skeleton(self.recipe.student, self.tokenizer)
            settings = replace(
                _scoring(objective, training, self.tokenizer),
                column="teacher_logprobs",
                candidates=objective.algorithm.candidates,
                vocabulary=model.get_input_embeddings().num_embeddings,
            )
            found.append(self._scorer(partial(load_model, _anywhere(teacher), field="teacher"), settings))
        return found

    def _scorer(self, make: MakeModel, settings: ScorerConfig) -> Scorer:
        scorer = self._host.scorer(make, settings)
        self._open.append(scorer)
        return scorer


def _scoring(objective: Objective, training: Training, tokenizer: Any) -> ScorerConfig:
    """How log-probs are taken for an objective: as its learner takes them."""
    learner = training.learner
    return ScorerConfig(
        pad_id=tokenizer.pad_token_id,
        temperature=objective.temperature,
        max_tokens=learner.micro_batch_tokens,
        chunk_tokens=learner.logprob_chunk_tokens,
        precision=learner.precision,
    )


def _anywhere(model: str) -> str:
    """A model's folder as processes with other working directories find it; a hub name stays as it is."""
    return str(Path(model).expanduser().resolve()) if Path(model).expanduser().is_dir() else model


def _host(recipe: Recipe, size: ModelSize, say: Say) -> Host:
    if isinstance(recipe.cluster, RayCluster):
        from rl_distill.cluster.ray_host import RayHost

        return RayHost(
            recipe.cluster, engine_gpus=engine_gpus(recipe), roles=recipe.roles, size=size, folder=recipe.folder, say=say
        )
    return LocalHost()


class _Abandoning:
    """A stage's sampler, of which nothing is wanted any more when the stage is over."""

    def __init__(self, sampler: Sampler) -> None:
        self.close = sampler.abandon


def _term(objective: Objective) -> LossTerm:
    name, weight = (objective.name, objective.weight) if isinstance(objective, Beside) else (MAIN, 1.0)
    return LossTerm(source=name, algorithm=objective.algorithm, weight=weight, temperature=objective.temperature)
