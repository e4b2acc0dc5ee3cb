"""What a run learns from, read once, made for the student, and checked before hours of training."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rl_distill.errors import InputError
from rl_distill.recipe import BASE
from rl_distill.rewards import WeightedRewards
from rl_distill.rollout.collector import Prompt, Prompter
from rl_distill.rollout.interview import Interviewer
from rl_distill.training.dataset_source import DatasetSource, DatasetSourceConfig, nothing_to_learn
from rl_distill.training.rollout_source import RolloutSourceConfig, prompts_for
from rl_distill.training.stages import Beside, Objective
from rl_distill.training.tokenized import REMEMBERED_GROUPS, Tokenized
from rl_distill.trajectory import Group, Trajectory


class Inputs:
    """The problems of every objective, by the field of the recipe where its source stands.

    Args:
        recorded: a teacher's distributions come with the data sets.
    """

    def __init__(self, prompter: Prompter, *, recorded: bool = False) -> None:
        self.prompter, self.recorded = prompter, recorded
        self._read: dict[str, Tokenized | Sequence[Prompt]] = {}
        self._left_out: dict[str, int] = {}  # problems about which no dialogue can be held

    def of(self, field: str, objective: Objective) -> "Tokenized | Sequence[Prompt]":
        """
        Raises:
            InputError: they cannot be read, put to the student or graded.
        """
        if field not in self._read:
            settings = objective.source
            with named(f"{field}.problems"):
                groups = settings.problems.groups()
            if isinstance(settings, DatasetSourceConfig):
                candidates = objective.algorithm.candidates if self.recorded else None
                self._read[field] = Tokenized(groups, self.prompter, field=field, candidates=candidates)
            else:
                self._read[field] = self._prompts(field, objective, settings, groups)
        return self._read[field]

    def check(self, field: str, objective: Objective) -> list[str]:
        """Read them; returns a line for the user if only a part is learnt from.

        Raises:
            InputError: as `of`, or there is nothing to learn.
        """
        problems = self.of(field, objective)
        if isinstance(problems, Tokenized):
            return self._check_useful(objective, problems) if len(problems) <= REMEMBERED_GROUPS else []
        if not self._left_out.get(field):
            return []
        assert isinstance(objective.source, RolloutSourceConfig) and objective.source.dialogue, "dialogues leave problems out"
        return [
            f"note: {field}.problems: {self._left_out[field]} problems are left out, for they have fewer than "
            f"{objective.source.dialogue.num_probes} probes that may be asked or no room for them; {len(problems)} are left"
        ]

    def _prompts(
        self, field: str, objective: Objective, settings: RolloutSourceConfig, groups: Sequence[Group]
    ) -> Sequence[Prompt]:
        with named(f"{field}.rewards"):
            for reward in WeightedRewards(settings.rewards).rewards:
                reward.check_machine()
        interviewer = interviewer_of(objective, self.prompter)
        if interviewer is not None:
            with named(f"{field}.problems"):
                askable = interviewer.askable(groups, f"{field}.problems")
            self._left_out[field] = len(groups) - len(askable)
            groups = askable
        return prompts_for(settings, groups, self.prompter, field)

    def _check_useful(self, objective: Objective, problems: Tokenized) -> list[str]:
        """Read a data set that fits in memory: an attempt that is too long, or nothing to learn from, shows now."""
        assert isinstance(objective.source, DatasetSourceConfig), "only a data set is tokenised"
        useful = DatasetSource(objective.source, problems, learnt_by(objective), self.prompter.max_context, 0).count()
        if useful == 0:
            raise nothing_to_learn(problems.field, len(problems))
        if useful == len(problems):
            return []
        lacking = sum(not objective.algorithm.samples(problems[index]) for index in range(len(problems)))
        return [
            f"note: {problems.field}.problems: {objective.algorithm.name} learns from {useful} of {len(problems)} groups; "
            f"{lacking} lack an attempt that it needs, {len(problems) - useful - lacking} are longer than the source allows"
        ]


def interviewer_of(objective: Objective, prompter: Prompter) -> Interviewer | None:
    """Who words the dialogues of an objective; None where problems are put alone."""
    source = objective.source
    if not isinstance(source, RolloutSourceConfig) or source.dialogue is None:
        return None
    return Interviewer(
        prompter=prompter,
        settings=source.dialogue,
        max_tokens=source.sampling.max_tokens,
        lessons=objective.algorithm.imitates_lessons,
    )


def learnt_by(objective: Objective) -> Callable[[Group], list[Trajectory]]:
    """The attempts of a group that an objective's algorithm learns from."""
    return lambda group: [sample.trajectory for sample in objective.algorithm.samples(group)]


def field_of(stage: str, objective: Objective) -> str:
    """Where an objective's source stands in the recipe."""
    field = f"stages.{stage}" if stage != BASE else "student.model.pretraining"
    return f"{field}.beside.{objective.name}.source" if isinstance(objective, Beside) else f"{field}.source"


@contextmanager
def named(field: str) -> Iterator[None]:
    """Say where in the recipe an input stands that turned out wrong, unless it is the student that is at fault."""
    try:
        yield
    except InputError as error:
        if error.field.startswith((field, "student.")):
            raise
        raise InputError(field, f"{error.field}: {error.problem}", error.remedy) from None
