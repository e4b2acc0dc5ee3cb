"""The one configuration of a curation, composed of the classes that live beside the stages they configure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rl_distill.cluster.settings import AnyRowCluster, LocalCluster
from rl_distill.config import config, parse, read_yaml, setting
from rl_distill.curation.cleaning import Cleaning
from rl_distill.curation.decontaminate import Decontaminate
from rl_distill.curation.dedup import Dedup
from rl_distill.curation.extract import ReasoningFormat
from rl_distill.curation.generate import Generation
from rl_distill.curation.pairs import Pairs
from rl_distill.curation.probes import Probing
from rl_distill.curation.selection import AnyOperation
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.curation.teacher_columns import TeacherColumns
from rl_distill.curation.teachers import AnyTeacher
from rl_distill.curation.verification import Verification
from rl_distill.problems import AnyProblemSet
from rl_distill.text import PromptFormat


@config
class Contamination:
    """What must not be learnt: everything that a student will be measured on."""

    against: tuple[AnyProblemSet, ...] = setting(about="every evaluation set that is used", min_length=1)
    rules: Decontaminate = setting(Decontaminate(), about="when two problems are one")


@config
class Asking:
    """Putting problems to a teacher."""

    teacher: AnyTeacher = setting(about="who answers")
    prompt: PromptFormat = setting(PromptFormat(), about="how a problem is put")
    num_samples: int = setting(1, about="answers to each problem", ge=1)
    sampling: TeacherSampling = setting(TeacherSampling(), about="how they are drawn")
    sampling_overrides: Mapping[str, TeacherSampling] = setting({}, about="by problem id, in place of `sampling`")
    teacher_columns: TeacherColumns | None = setting(
        None, about="keep the log-probs of the teacher's most likely tokens for distillation; none keeps text alone"
    )
    limits: Generation = setting(Generation(), about="retries, prices and limits")

    def __post_init__(self) -> None:
        if self.teacher_columns is not None:
            self.teacher_columns.check([self.sampling, *self.sampling_overrides.values()])


@config
class CurationRecipe:
    """From problems and a teacher to verified attempts, positives and pairs."""

    name: str = setting(about="names the folder", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = setting(0, about="with the question and the sample's index the address of everything random")
    folder: str | None = setting(None, about="where everything goes; none is curated/NAME")
    problems: tuple[AnyProblemSet, ...] = setting(about="sets to begin with, in order", min_length=1)
    licenses: Mapping[str, str] = setting({}, about="licence of each source, for the data card")
    cleaning: Cleaning = setting(Cleaning(), about="what is no problem at all")
    dedup: Dedup | None = setting(Dedup(), about="one of several problems that ask the same; none keeps all")
    decontaminate: Contamination | None = setting(None, about="leaves out what the evaluation asks; none leaves out nothing")
    generate: Asking | None = setting(None, about="who is asked, and how; none keeps the attempts that the sets come with")
    reasoning: ReasoningFormat = setting(ReasoningFormat(), about="how reasoning and answer become one reply")
    verification: Verification = setting(Verification(), about="how attempts are graded")
    select: tuple[AnyOperation, ...] = setting((), about="what the pool is cut down to, one after the other")
    probes: Probing | None = setting(
        None, about="questions about the selected problems that make a student explain; none makes none"
    )
    pairs: Pairs | None = setting(Pairs(), about="which pairs are made; none makes none")
    cluster: AnyRowCluster = setting(LocalCluster(), about="where attempts are graded")
    max_tokens: int | None = setting(None, about="longest attempt that is published, in the teacher's tokens; none: any", ge=1)

    @property
    def path(self) -> Path:
        return Path(self.folder or f"curated/{self.name}").expanduser()


def load_curation(path: str | Path, overrides: Sequence[str] = ()) -> CurationRecipe:
    """
    Raises:
        InputError: naming the key, what is wrong with it, and the nearest thing that would be right.
    """
    return parse(CurationRecipe, read_yaml(Path(path), overrides))
