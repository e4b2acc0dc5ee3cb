"""The block `probes` of a curation: who makes probes of the selected problems, by which rules, and which of them survive.

    select ─► probe_write ─► probe_leaks ─► probe_answer ─► probe_consistency ─► probe_rise ─► probe_difficulty ─► publish
                 teacher        no one         teacher           teacher           student          student

Method: Explanatory Inversion, arXiv:2603.19266. A filter labels a probe (`Probe.leaks_gold`, `consistent`,
`student_base_correct`); one that may no longer be asked stays in the record, and nobody is asked about it again. A problem whose
probes have all gone is left out with a reason.
"""

from rl_distill.config import config, setting
from rl_distill.curation.attempt_selection import Language
from rl_distill.curation.generate import Generation
from rl_distill.curation.judge import Judge
from rl_distill.curation.probe_rules import ProbeRules, load_rules
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.curation.teachers import AnyTeacher, EngineTeacherConfig, ProceduralTeacherConfig
from rl_distill.errors import InputError
from rl_distill.models.loading import context_of, load_settings, load_tokenizer
from rl_distill.text import PromptFormat, check_words


@config
class Consistency:
    """Filter 1: the teacher, shown a probe with its reply and then the problem, still finds the gold answer."""

    sampling: TeacherSampling = setting(TeacherSampling(temperature=0.0), about="how the teacher's answer is drawn")


@config
class Rise:
    """Second leak filter: a probe whose text alone makes the base student solve the problem more often tells too much."""

    num_samples: int = setting(8, about="answers to the problem without, and as many with, a probe's text before it", ge=1)
    max_rise: float = setting(0.2, about="largest rise of the student's accuracy that is no leak", ge=0, lt=1)
    sampling: TeacherSampling = setting(TeacherSampling(max_tokens=1024), about="how these answers are drawn")


@config
class BaseStudent:
    """Filter 2: the student before any training answers every probe; problems that are too easy or too hard for it go.

    With L of the N checked probes answered right, a problem is kept if tau_hard <= L < N. That is the paper's prose; the second
    clause of its formula has the opposite sign. A closed probe is checked by rule; an open one by the judge, and without a judge
    by nobody: then neither L nor N counts it.
    """

    model: AnyTeacher = setting(about="the student")
    sampling: TeacherSampling = setting(TeacherSampling(temperature=0.0, max_tokens=1024), about="how it answers a probe")
    limits: Generation = setting(Generation(), about="retries, prices and limits")
    tau_hard: int = setting(1, about="probes answered right below which a problem is too hard; the paper does not say", ge=0)
    judge: Judge | None = setting(None, about="who checks explanations; none leaves open probes unchecked")
    rise: Rise | None = setting(None, about="second leak filter; none leaves it out")


@config
class Probing:
    """Probes of the selected problems. Problems that carry some already keep them, and only the filters apply to them."""

    rules: str | None = setting(None, about="file of rules; none takes the package's ten")
    use: tuple[str, ...] = setting((), about="ids of the rules that are used; none uses all")
    teacher: AnyTeacher = setting(about="who writes probes, answers them and is tested for consistency")
    sampling: TeacherSampling = setting(TeacherSampling(temperature=0.7), about="how probes and replies are drawn")
    limits: Generation = setting(Generation(), about="retries, prices and limits of all that the teacher is asked about probes")
    prompt: PromptFormat = setting(
        PromptFormat(instruction="Please reason step by step, and put your final answer within \\boxed{}."),
        about="how the problem is put where a filter asks for its answer",
    )
    closed_instruction: str = setting(
        "Put the final answer within \\boxed{}.", about="ends the text of a closed probe, so that replies can be checked by rule"
    )
    language: Language | None = setting(Language(), about="scripts of probes and replies; none takes any")
    consistency: Consistency | None = setting(Consistency(), about="filter 1; none leaves it out")
    student: BaseStudent | None = setting(None, about="filter 2; none leaves it out")
    dialogue_probes: int = setting(
        5, about="probes of each published dialogue to imitate, or all if a problem has fewer", ge=1, source="arXiv:2603.19266"
    )

    def __post_init__(self) -> None:
        if self.consistency is not None and isinstance(self.teacher, ProceduralTeacherConfig):
            raise ValueError(
                "consistency: the procedural teacher reads nothing before a problem, so that no probe could mislead it: set "
                "consistency to null, or take another teacher"
            )

    def check(self) -> None:
        """What would fail only after the teacher was paid: a base student in this process that cannot be asked.

        Raises:
            InputError: naming the setting.
        """
        student = self.student
        if student is None or not isinstance(student.model, EngineTeacherConfig):
            return
        context = context_of(load_settings(student.model.model))
        lengths = {"sampling": student.sampling, "rise.sampling": student.rise and student.rise.sampling}
        for name, sampling in lengths.items():
            if sampling and sampling.max_tokens >= context:
                raise InputError(
                    f"probes.student.{name}.max_tokens",
                    f"is {sampling.max_tokens}, which leaves no room for a question in the student's context of {context}",
                    "lower it",
                )
        if self.prompt.instruction and student.rise:
            check_words(load_tokenizer(student.model.model), self.prompt.instruction, "probes.prompt.instruction")

    def used_rules(self) -> ProbeRules:
        """The file of rules with those that are used.

        Raises:
            InputError: it cannot be read or is none, or has no rule of a chosen id.
        """
        return load_rules(self.rules).only(self.use)
