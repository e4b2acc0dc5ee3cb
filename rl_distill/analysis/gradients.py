"""What the objectives do: the gradient of every algorithm on one batch of groups, side by side. No weight is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from torch import Tensor

from rl_distill.algorithms import ALGORITHMS
from rl_distill.algorithms.base import REFERENCE_NEEDS, TEACHER_NEEDS, Algorithm
from rl_distill.analysis.gradient_comparison import AlgorithmGradient, GradientComparison, Part
from rl_distill.analysis.gradient_learner import GradientLearner, TakenApart
from rl_distill.analysis.gradient_parts import divisions
from rl_distill.analysis.gradient_reading import PLACE, placed, read_by, refusal
from rl_distill.errors import InputError
from rl_distill.evaluation.subject import Subject, find_subject
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.scorer import ModelScorer, ScorerConfig
from rl_distill.models.loading import context_of, load_model, load_settings, load_tokenizer
from rl_distill.recipe import load_recipe
from rl_distill.records import read_groups
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.training.loop import credited
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Group, Sample

LEARNER = LearnerConfig(schedule="constant", warmup_steps=0)
NEGLIGIBLE = 1e-6  # of the largest norm, if that is above 1: what is smaller is rounding, and points nowhere


def gradients(
    student: str | Path,
    groups: str | Path | Sequence[Group],
    algorithms: Sequence[str] | Mapping[str, Algorithm] | None = None,
    *,
    teacher: str | Path | None = None,
    reference: str | Path | None = None,
    prompt: PromptFormat | None = None,
    temperature: float = 1.0,
    learner: LearnerConfig = LEARNER,
) -> GradientComparison:
    """Each algorithm's gradient at the student's weights, as its learner would compute it on these groups in one step.

    An algorithm that needs rollouts reads the student's own attempts, any other one all of them, as from a data set.

    Args:
        student: folder, hub name, a run (its final student) or RUN:STAGE.
        groups: or a file of them, as in a run's `trajectories/` or from a curation.
        algorithms: names of the table, or algorithms by a name of their own; none is the whole table with its defaults.
        teacher: likewise, the model whose log-probs distillation needs; none is the student itself.
        reference: likewise, for algorithms that compare with one.
        prompt: how problems are put to the student, for attempts that are text alone; none is as the recipe of the run says in
            whose folder the student lies, or plainly.
        temperature: of the sampler.
        learner: its precision, device and micro-batches.

    Raises:
        InputError: a model or the groups cannot be read, or a name is none of the table.
    """
    return _Bench(student, groups, teacher or student, reference or student, prompt, temperature, learner).compare(
        _chosen(algorithms)
    )


class _Bench:
    def __init__(
        self,
        student: str | Path,
        groups: str | Path | Sequence[Group],
        teacher: str | Path,
        reference: str | Path,
        prompt: PromptFormat | None,
        temperature: float,
        learner: LearnerConfig,
    ) -> None:
        self.given, given = str(student), {"student": student, "teacher": teacher, "reference": reference}
        subjects = {field: find_subject(str(name), field=field) for field, name in given.items()}
        places = {field: str(subject.folder) for field, subject in subjects.items()}
        self.student, self.teacher, self.reference = places["student"], places["teacher"], places["reference"]
        self.temperature, self.config = temperature, learner
        self.tokenizer = load_tokenizer(self.student)
        self.model = load_model(self.student)
        self.groups = placed(self._tokenized(groups, prompt or _prompt_of(subjects["student"])))
        self._scoring: dict[str, Any] = {}

    def compare(self, algorithms: Mapping[str, Algorithm]) -> GradientComparison:
        left_out = {name: why for name, algorithm in algorithms.items() if (why := refusal(algorithm, self.groups))}
        found = {name: self._gradient(name, one) for name, one in algorithms.items() if name not in left_out}
        largest = max([1.0, *(taken.whole.norm().item() for _, taken in found.values() if taken)])
        wholes = {
            name: taken.whole
            for name, (_, taken) in found.items()
            if taken is not None and taken.whole.norm().item() > NEGLIGIBLE * largest
        }
        return GradientComparison(
            student=self.given,
            groups=self.groups,
            texts=self._texts(),
            algorithms={name: self._summary(name, samples, taken, wholes) for name, (samples, taken) in found.items()},
            cosines={(row, column): _cosine(wholes.get(row), wholes.get(column)) for row, column in product(found, found)},
            left_out=left_out,
        )

    def _gradient(self, name: str, algorithm: Algorithm) -> tuple[Sequence[Sample], TakenApart | None]:
        term = LossTerm(algorithm=algorithm, temperature=self.temperature)
        learner = GradientLearner(self.model, self.tokenizer, algorithm, self.config, temperature=self.temperature)
        credit = credited(
            term,
            read_by(algorithm, self.groups),
            reference=self._scorer("reference", algorithm) if algorithm.needs & REFERENCE_NEEDS else None,
            teacher=self._scorer("teacher", algorithm) if algorithm.needs & TEACHER_NEEDS else None,
            learner=learner,
            mini_batches=1,
        )
        if not credit.samples:
            return [], None
        selections = {f"{one.name}/{part}": select for one in divisions(credit.samples) for part, select in one.parts.items()}
        return credit.samples, learner.take_apart(credit.samples, selections)

    def _scorer(self, who: str, algorithm: Algorithm) -> ModelScorer:
        """Read as the learner reads; a model that scores is never the one that learns."""
        path = self.teacher if who == "teacher" else self.reference
        model = self._scoring.setdefault(path, load_model(path, field=who))
        settings = ScorerConfig(
            pad_id=self.tokenizer.pad_token_id,
            temperature=self.temperature,
            max_tokens=self.config.micro_batch_tokens,
            chunk_tokens=self.config.logprob_chunk_tokens,
            precision=self.config.precision,
        )
        if who == "teacher":
            vocabulary = self.model.get_input_embeddings().num_embeddings
            settings = replace(settings, column="teacher_logprobs", candidates=algorithm.candidates, vocabulary=vocabulary)
        return ModelScorer(model, settings)

    def _summary(
        self, name: str, samples: Sequence[Sample], taken: TakenApart | None, wholes: Mapping[str, Tensor]
    ) -> AlgorithmGradient:
        if taken is None:
            return AlgorithmGradient(name=name, num_samples=0, num_tokens=0, loss=0.0, norm=0.0, parts=(), credits={})
        square = float(taken.whole.square().sum()) if name in wholes else None
        credits: dict[tuple[int, int], tuple[float, ...]] = {}
        for sample, row in zip(samples, taken.credits, strict=True):
            place = sample.trajectory.metadata[PLACE]
            before = credits.get(place, (0.0,) * len(row))  # an attempt may be imitated beside the objective too
            credits[place] = tuple(one + other for one, other in zip(before, row, strict=True))
        return AlgorithmGradient(
            name=name,
            num_samples=len(samples),
            num_tokens=sum(sample.trajectory.num_sampled for sample in samples),
            loss=taken.loss,
            norm=taken.whole.norm().item(),
            parts=tuple(_part(path, part, taken.whole, square) for path, part in taken.parts.items()),
            credits=credits,
        )

    def _tokenized(self, groups: str | Path | Sequence[Group], prompt: PromptFormat) -> list[Group]:
        given = list(read_groups(Path(groups))) if isinstance(groups, str | Path) else list(groups)
        if not any(group.trajectories for group in given):
            raise InputError("groups", "have no attempt in them", "give groups with attempts, such as a run's trajectories")
        prompter = Prompter(tokenizer=self.tokenizer, format=prompt, max_context=context_of(load_settings(self.student)))
        made = Tokenized(given, prompter, field="groups")
        tokenized = [made[index] for index in range(len(made))]
        for group in tokenized:
            longest = max((len(attempt.token_ids) for attempt in group.trajectories), default=0)
            if longest > prompter.max_context:
                problem = f"problem {group.problem.id!r} has an attempt of {longest} tokens, more than the student's context"
                raise InputError("groups", problem, "leave it out")
        return tokenized

    def _texts(self) -> dict[tuple[int, int], Sequence[str]]:
        return {
            attempt.metadata[PLACE]: [self.tokenizer.decode([token]) for token in attempt.token_ids]
            for group in self.groups
            for attempt in group.trajectories
        }


def _prompt_of(student: Subject) -> PromptFormat:
    """As its run puts problems; `RUN/final` and `RUN/stages/NAME/student` lie in one, a base that a recipe names does not."""
    places = [student.run] if student.run else student.folder.resolve().parents[:3]
    runs = [folder for folder in places if (folder / "recipe.yaml").is_file()]
    return load_recipe(runs[0] / "recipe.yaml").student.prompt if runs else PromptFormat()


def _chosen(algorithms: Sequence[str] | Mapping[str, Algorithm] | None) -> Mapping[str, Algorithm]:
    if isinstance(algorithms, Mapping):
        return algorithms
    names = list(ALGORITHMS) if algorithms is None else list(algorithms)
    for name in names:
        if name not in ALGORITHMS:
            raise InputError("algorithms", f"{name!r} is none", f"choose among {', '.join(ALGORITHMS)}")
    return {name: ALGORITHMS[name]() for name in names}


def _part(path: str, part: Tensor, whole: Tensor, square: float | None) -> Part:
    division, _, name = path.partition("/")
    share = None if square is None else float(part @ whole) / square
    return Part(division=division, name=name, norm=part.norm().item(), share=share)


def _cosine(one: Tensor | None, other: Tensor | None) -> float | None:
    if one is None or other is None:
        return None
    return float(one @ other) / (one.norm().item() * other.norm().item())
