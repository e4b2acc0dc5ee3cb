"""From a recipe to live objects: the one place where names become things."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rl_distill.errors import InputError
from rl_distill.evaluation.evaluator import EvaluationResult, Evaluator
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.loss_term import MAIN, LossTerm
from rl_distill.learning.scorer import Scorer
from rl_distill.models.digest import weight_digest
from rl_distill.models.loading import load_model
from rl_distill.models.token_match import check_reference
from rl_distill.models.weights import WeightUpdate
from rl_distill.recipe import BASE, REFERENCE_NEEDS, Recipe
from rl_distill.rewards import WeightedRewards
from rl_distill.rollout.collector import Prompt
from rl_distill.rollout.engine import Engine, load_checked
from rl_distill.rollout.hf_engine import HfEngine
from rl_distill.training.dataset_source import DatasetSource, DatasetSourceConfig, nothing_to_learn
from rl_distill.training.loop import Feed, Parts
from rl_distill.training.rollout_source import RolloutSource, prompts_for
from rl_distill.training.sources import Source
from rl_distill.training.stages import Beside, Objective, Training
from rl_distill.training.student import SeededModel, prompter
from rl_distill.training.tokenized import REMEMBERED_GROUPS, Tokenized
from rl_distill.trajectory import Group, Trajectory


class Workshop:
    """Makes what a stage runs on. The engine and the evaluator are made once and serve all stages of a run."""

    def __init__(self, recipe: Recipe, saved_base: Path | None = None) -> None:
        self.recipe = recipe
        self.prompter = prompter(recipe.student, saved_base)
        self.tokenizer = self.prompter.tokenizer
        self._inputs: dict[str, Tokenized | Sequence[Prompt]] = {}
        self._student: Any = None  # the newest stage's model: what an engine copies to know the architecture
        self._engine: HfEngine | None = None
        self._evaluator: Evaluator | None = None

    def model(self, start: str | None) -> Any:
        """The student from a folder or the hub, or, for None, with the initial weights of its seed."""
        if start is not None:
            return load_model(start)
        model = self.recipe.student.model
        assert isinstance(model, SeededModel), "only a seeded student starts from nothing"
        return model.build(self.tokenizer)

    def parts(self, name: str, training: Training, start: str | None) -> Parts:
        """Everything the loop needs for one stage."""
        self._student = model = self.model(start)
        sources = [self._source(name, objective) for objective in training.objectives]
        terms = [_term(objective) for objective in training.objectives]
        steps = self._steps(training, sources[0])
        learner = LocalLearner(
            model,
            self.tokenizer,
            training.algorithm,
            training.learner,
            temperature=training.temperature,
            beside=terms[1:],
            total_steps=None if steps is None else steps * training.mini_batches,
        )
        scorers = self._scorers(training, start, learner.device)
        return Parts(
            feeds=tuple(
                Feed(term=term, source=source, scorer=scorer)
                for term, source, scorer in zip(terms, sources, scorers, strict=True)
            ),
            learner=learner,
            mini_batches=training.mini_batches,
            steps=steps,
            max_generated_tokens=training.max_generated_tokens,
        )

    def check(self, trainings: Mapping[str, Training]) -> list[str]:
        """Read what stages learn from and what students are measured on, before hours of training.

        Returns a line for each data set that only a part of is learnt from.

        Raises:
            InputError: it cannot be found, read, put to the student or graded.
        """
        if self.recipe.reference is not None:
            check_reference(self.tokenizer, self.recipe.reference)
        notes = []
        for name, training in trainings.items():
            for objective in training.objectives:
                problems = self._input(name, objective)
                if isinstance(problems, Tokenized) and len(problems) <= REMEMBERED_GROUPS:
                    notes += self._check_useful(objective, problems)
        if self.recipe.evaluation is not None and self._evaluator is None:
            with _named("evaluation"):
                self._evaluator = Evaluator(self.recipe.evaluation, self.prompter, self.recipe.seed)
        return notes

    def evaluate(self, update: WeightUpdate) -> tuple[EvaluationResult | None, Sequence[Group]]:
        """Measure published weights on the recipe's held-out problems; (None, []) if the recipe measures nothing."""
        settings = self.recipe.evaluation
        if settings is None:
            return None, []
        engine = self._shared_engine()
        if self._evaluator is None:
            self._evaluator = Evaluator(settings, self.prompter, self.recipe.seed)
        load_checked(engine, update)
        return self._evaluator.evaluate(engine)

    def evaluate_model(self, path: str) -> tuple[EvaluationResult | None, Sequence[Group]]:
        """Measure a student that no stage of this run trains: the base as it comes."""
        self._student = self.model(path)
        tensors = {name: parameter.detach() for name, parameter in self._student.named_parameters()}
        return self.evaluate(WeightUpdate(version=0, tensors=tensors, digest=weight_digest(tensors)))

    def _shared_engine(self) -> Engine:
        """The run's engine, with a copy of the model of its own."""
        if self._engine is None:
            self._engine = HfEngine(self._student, self.tokenizer, self.recipe.engine, name=self.recipe.name)
        return self._engine

    def _input(self, stage: str, objective: Objective) -> "Tokenized | Sequence[Prompt]":
        """The problems of an objective, made for the student; read once."""
        field = _field(stage, objective)
        if field not in self._inputs:
            settings = objective.source
            with _named(f"{field}.problems"):
                groups = settings.problems.groups()
            if isinstance(settings, DatasetSourceConfig):
                self._inputs[field] = Tokenized(groups, self.prompter, field=field)
            else:
                with _named(f"{field}.rewards"):
                    WeightedRewards(settings.rewards)
                self._inputs[field] = prompts_for(settings, groups, self.prompter, field)
        return self._inputs[field]

    def _check_useful(self, objective: Objective, problems: Tokenized) -> list[str]:
        """Read a data set that fits in memory: an attempt that is too long, or nothing to learn from, shows now."""
        assert isinstance(objective.source, DatasetSourceConfig), "only a data set is tokenised"
        useful = DatasetSource(objective.source, problems, _learnt(objective), self.prompter.max_context, 0).count()
        if useful == 0:
            raise nothing_to_learn(problems.field, len(problems))
        if useful == len(problems):
            return []
        lacking = sum(not objective.algorithm.samples(problems[index]) for index in range(len(problems)))
        return [
            f"note: {problems.field}.problems: {objective.algorithm.name} learns from {useful} of {len(problems)} groups; "
            f"{lacking} lack an attempt that it needs, {len(problems) - useful - lacking} are longer than the source allows"
        ]

    def _source(self, stage: str, objective: Objective) -> Source:
        model = self.recipe.student.model
        seed = model.seed if stage == BASE and isinstance(model, SeededModel) else self.recipe.seed
        settings, problems, learnt = objective.source, self._input(stage, objective), _learnt(objective)
        if isinstance(settings, DatasetSourceConfig):
            assert isinstance(problems, Tokenized), "a data set is tokenised"
            return DatasetSource(settings, problems, learnt, self.prompter.max_context, seed)
        assert not isinstance(problems, Tokenized), "rollouts start from prompts"
        place = f"{stage}.{objective.name}" if isinstance(objective, Beside) else stage
        refills = objective.algorithm.max_refills
        return RolloutSource(settings, problems, self._shared_engine(), learnt, refills, seed, place)

    def _steps(self, training: Training, source: Source) -> int | None:
        if training.epochs is None:
            return training.steps
        assert isinstance(source, DatasetSource), "epochs are for data sets"
        count = source.count()
        if count == 0:
            raise nothing_to_learn(source.groups.field, len(source.groups))
        return math.ceil(count * training.epochs / source.settings.groups_per_step)

    def _scorers(self, training: Training, start: str | None, device: torch.device) -> list[Scorer | None]:
        """The reference for each objective that compares with one: the same model, at the objective's temperature."""
        wanted = [bool(objective.algorithm.needs & REFERENCE_NEEDS) for objective in training.objectives]
        if not any(wanted):
            return [None] * len(wanted)
        reference, learner = self.recipe.reference, training.learner
        model = (load_model(reference, field="reference") if reference else self.model(start)).to(device)
        return [
            Scorer(
                model,
                pad_id=self.tokenizer.pad_token_id,
                temperature=objective.temperature,
                max_tokens=learner.micro_batch_tokens,
                chunk_tokens=learner.logprob_chunk_tokens,
                precision=learner.precision,
            )
            if needed
            else None
            for objective, needed in zip(training.objectives, wanted, strict=True)
        ]


def _learnt(objective: Objective) -> Callable[[Group], list[Trajectory]]:
    """The attempts of a group that an objective's algorithm learns from."""
    return lambda group: [sample.trajectory for sample in objective.algorithm.samples(group)]


def _term(objective: Objective) -> LossTerm:
    name, weight = (objective.name, objective.weight) if isinstance(objective, Beside) else (MAIN, 1.0)
    return LossTerm(source=name, algorithm=objective.algorithm, weight=weight, temperature=objective.temperature)


def _field(stage: str, objective: Objective) -> str:
    """Where an objective's source stands in the recipe."""
    field = f"stages.{stage}" if stage != BASE else "student.model.pretraining"
    return f"{field}.beside.{objective.name}.source" if isinstance(objective, Beside) else f"{field}.source"


@contextmanager
def _named(field: str) -> Iterator[None]:
    """Say where in the recipe an input stands that turned out wrong."""
    try:
        yield
    except InputError as error:
        if error.field.startswith(field):
            raise
        raise InputError(field, f"{error.field}: {error.problem}", error.remedy) from None
