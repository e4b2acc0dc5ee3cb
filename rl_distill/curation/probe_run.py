"""What the stages of probes share: the recipe's block, who is asked, and how replies become texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rl_distill.curation.drop import Drop
from rl_distill.curation.extract import ReasoningFormat
from rl_distill.curation.generate import Note
from rl_distill.curation.probe_asking import Conversation, Respondent
from rl_distill.curation.probe_rules import ProbeRules
from rl_distill.curation.probes import BaseStudent, Probing
from rl_distill.curation.teacher import Response
from rl_distill.probes import Probe
from rl_distill.rewards.accuracy import Accuracy
from rl_distill.trajectory import Message, Problem

STORE, JUDGED = "probe_responses", "probe_judge"  # folders
Contaminated = Callable[[Sequence[Problem]], Sequence[Drop]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRun:
    """
    rules         that are used
    accuracy      compares final answers
    reasoning     how reasoning and answer become one reply
    folder        of the curation
    contaminated  problems that ask what the evaluation asks; None where there is no evaluation
    """

    probing: Probing
    rules: ProbeRules
    accuracy: Accuracy
    reasoning: ReasoningFormat
    seed: int
    folder: Path
    note: Note
    contaminated: Contaminated | None

    @property
    def teacher(self) -> Respondent:
        probing = self.probing
        return Respondent(probing.teacher, probing.limits, probing.sampling, self.seed, self.folder / STORE, self.note)

    @property
    def base_student(self) -> BaseStudent:
        assert self.probing.student is not None, "the stage is there only with it"
        return self.probing.student

    @property
    def student(self) -> Respondent:
        student = self.base_student
        return Respondent(student.model, student.limits, student.sampling, self.seed, self.folder / STORE, self.note)

    def reply(self, response: Response) -> str:
        """Reasoning and answer as one text."""
        return self.reasoning.joined(response.reasoning, response.text)

    def conclusion(self, reply: str) -> str:
        """What follows the reasoning where a reply marks it, else all of it."""
        closing = self.reasoning.closing.strip()
        return reply.rpartition(closing)[2].strip() if closing else reply.strip()

    def problem_after(self, problem: Problem, turns: Conversation) -> Conversation:
        """The problem as a filter puts it, with turns before it; a system turn stays in front."""
        *system, question = self.probing.prompt.messages(problem.prompt)
        return (*system, *turns, question)


def turns_of(probe: Probe) -> Conversation:
    """A probe and the teacher's reply to it."""
    return Message("user", probe.text), Message("assistant", probe.teacher_reply)


def fault_of(response: Response) -> str:
    """Why an answer cannot be used, in a word; "" for a good one."""
    if response.failure is not None:
        return "cut_off" if response.failure == "length" else "not_answered"
    return "" if response.text.strip() else "not_answered"


def was_said(response: Response) -> bool:
    """Whether there is something to judge: a cut-off answer is one, and so is silence; a server's failure says nothing."""
    return response.failure in (None, "length", "empty")
