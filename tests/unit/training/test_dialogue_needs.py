"""An algorithm that learns from dialogues gets them, or is refused before anything starts."""

import pytest
from tiny_runs import tiny_student

from rl_distill.algorithms import Grpo, Sft
from rl_distill.algorithms.base import Algorithm
from rl_distill.config import config, parse
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.recipe import Recipe
from rl_distill.rewards import Accuracy, Coherence, SoftOverlong
from rl_distill.rollout.dialogue import Branches, DialogueConfig
from rl_distill.training.dataset_source import DatasetSourceConfig
from rl_distill.training.inputs import interviewer_of
from rl_distill.training.rollout_source import RolloutSourceConfig
from rl_distill.training.stages import Objective, Stage
from rl_distill.training.student import Student, prompter


@config
class Comparing(Grpo):
    """Compares with two contexts."""

    @property
    def contexts(self):
        return frozenset({"blanked", "partial"})


@config
class Gold(Grpo):
    needs_dialogues = True

    @property
    def needs_gold_replies(self):
        return True


@config
class Imitating(Grpo):
    needs_dialogues = True

    @property
    def imitates_lessons(self):
        return True


@config
class Warm(Grpo):
    @property
    def needs_warm_start(self):
        return True


def source(dialogue: DialogueConfig | None = None) -> RolloutSourceConfig:
    return RolloutSourceConfig(problems=Arithmetic(), rewards=(SoftOverlong(),), dialogue=dialogue)


def dialogues(gold: str | None = None, **branches: int) -> DialogueConfig:
    return DialogueConfig(branches=Branches(**branches), gold_reply=gold)


@pytest.mark.parametrize(
    ("algorithm", "dialogue", "message"),
    [
        (Comparing(), None, "set source.dialogue.branches.blanked and source.dialogue.branches.partial to 1"),
        (Comparing(), dialogues(partial=1), "in context blanked: set source.dialogue.branches.blanked to 1"),
        (Imitating(), None, "learns from dialogues: give source.dialogue"),
        (Gold(), None, "learns from dialogues: give source.dialogue"),
        (Gold(), dialogues(), "set source.dialogue.gold_reply"),
        (Grpo(), dialogues("{answer}"), "gold_reply has no effect"),
    ],
)
def test_what_an_algorithm_lacks_in_its_dialogues_is_named_by_its_key(algorithm: Algorithm, dialogue, message):
    with pytest.raises(ValueError, match=message):
        Objective(algorithm=algorithm, source=source(dialogue))


def test_what_a_reward_compares_with_is_asked_for_like_what_an_algorithm_does():
    rewards = (Accuracy(), Coherence(measure_by="gain"))
    problems = Arithmetic()
    with pytest.raises(
        ValueError, match="reward 'coherence' compares with answers in context direct: set source.dialogue.branches.direct to 1"
    ):
        Objective(algorithm=Grpo(), source=RolloutSourceConfig(problems=problems, rewards=rewards, dialogue=dialogues(full=1)))
    Objective(algorithm=Grpo(), source=RolloutSourceConfig(problems=problems, rewards=rewards, dialogue=dialogues(direct=1)))


@pytest.mark.parametrize(
    ("algorithm", "dialogue"),
    [
        (Comparing(), dialogues(partial=1, blanked=1, direct=1)),
        (Gold(), dialogues("{answer}")),
        (Imitating(), dialogues()),
        (Grpo(), dialogues(shuffled=1)),
        (Grpo(), None),
    ],
)
def test_an_algorithm_that_has_all_it_learns_from_is_taken(algorithm: Algorithm, dialogue):
    Objective(algorithm=algorithm, source=source(dialogue))


def test_lessons_are_there_for_those_that_imitate_them_alone():
    made = prompter(parse(Student, tiny_student()))
    told = [interviewer_of(Objective(algorithm=one, source=source(dialogues())), made).lessons for one in (Imitating(), Grpo())]
    assert told == [True, False]


def stage(name: str, algorithm: Algorithm, where, **changes) -> Stage:
    return Stage(name=name, algorithm=algorithm, source=where, steps=1, **changes)


SFT = stage("sft", Sft(), DatasetSourceConfig(problems=Arithmetic(attempts="teacher")))
RECIPE = {"name": "r", "student": parse(Student, tiny_student())}


@pytest.mark.parametrize(
    "stages",
    [
        (stage("warm", Warm(), source()),),
        (SFT, stage("warm", Warm(), source(), start="base")),
        (stage("rl", Grpo(), source()), stage("warm", Warm(), source())),
    ],
)
def test_a_cold_start_is_refused_with_both_ways_out(stages):
    with pytest.raises(ValueError, match=r"stages\.warm: grpo .*let an sft stage come before, or set .*allow_cold_start=true"):
        Recipe(**RECIPE, stages=stages)


@pytest.mark.parametrize(
    "stages",
    [
        (SFT, stage("warm", Warm(), source())),
        (SFT, stage("rl", Grpo(), source()), stage("warm", Warm(), source())),
        (SFT, stage("warm", Warm(), source()), stage("again", Warm(), source(), start="sft")),
    ],
)
def test_a_student_that_an_earlier_stage_taught_from_data_is_warm(stages):
    Recipe(**RECIPE, stages=stages)
