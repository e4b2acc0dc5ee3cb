"""Dialogues worded for a student: which problems they can be held about, and what is said in each."""

from collections.abc import Sequence
from dataclasses import dataclass

from rl_distill.errors import InputError
from rl_distill.probes import Probe, probes_of
from rl_distill.rollout.branches import TEACHER, Visit, rules
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.dialogue import DialogueConfig
from rl_distill.rollout.turns import Reply, Turn, spoken, text_trajectory, unanswered
from rl_distill.text import check_dialogues, check_words
from rl_distill.trajectory import Group, Message, Problem, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Interviewer:
    """Words the dialogues about problems.

    max_tokens  of an answer
    lessons     whether the teacher's replies are imitated
    """

    prompter: Prompter
    settings: DialogueConfig
    max_tokens: int
    lessons: bool

    def askable(self, groups: Sequence[Group], field: str) -> list[Group]:
        """The problems with enough probes, and room for them: of the shortest replies, if not of all.

        Raises:
            InputError: there is none, the student's chat template cannot do several turns, or a text cannot be put to it.
        """
        check_dialogues(self.prompter.tokenizer, self.prompter.format.system)
        for name, text in self.settings.texts():
            check_words(self.prompter.tokenizer, text, f"dialogue.{name}")
        counted = [(group, len(probes_of(group.problem))) for group in groups]
        wanted, most = self.settings.num_probes, max((count for _, count in counted), default=0)
        if not most:
            remedy = "give problems that carry probes, or drop the source's dialogue"
            raise InputError(field, "no problem has a probe that may be asked (metadata.probes)", remedy)
        if most < wanted:
            problem = f"no problem has the {wanted} probes that dialogue.num_probes asks for; the most are {most}"
            raise InputError(field, problem, f"set dialogue.num_probes to {most} or less, or make more probes")
        enough = [group for group, count in counted if count >= wanted]
        found = [group for group in enough if self._least_tokens(group.problem) <= self.prompter.max_context]
        if not found:
            least = min(self._least_tokens(group.problem) for group in enough)
            raise InputError(
                field,
                f"the shortest dialogue about any problem takes {least} tokens with room for a reply (dialogue.reply_tokens "
                f"{self.settings.reply_tokens}) and the answer (sampling.max_tokens {self.max_tokens}), and the student's "
                f"context has {self.prompter.max_context}",
                "lower dialogue.num_probes, dialogue.reply_tokens or sampling.max_tokens, or lengthen the context",
            )
        if self.settings.gold_reply is not None and (lacking := [one for one in found if not (one.problem.answer or "").strip()]):
            problem = f"problem {lacking[0].problem.id!r} has no gold answer for dialogue.gold_reply to say"
            raise InputError(field, problem, "add one, or leave the problem out")
        if self.settings.branches.shuffled and len({group.problem.id for group in found}) < 2:
            raise InputError(field, "leaves one problem, and context shuffled needs two", "drop branches.shuffled")
        return found

    def visit(self, problem: Problem, probes: Sequence[Probe], epoch: int) -> Visit:
        """What is said in the dialogues of one visit."""
        settings, branches = self.settings, self.settings.branches
        asked = [Message("user", probe.text) for probe in probes]
        put = self.prompter.format.problem_turn(problem.prompt)
        thought = Message("user", settings.think_longer.replace("{question}", problem.prompt))
        blanks = branches.blanked or settings.gold_reply is not None
        return Visit(
            problem=problem,
            probes=tuple(probes),
            epoch=epoch,
            full=self._unanswered([*asked, put]),
            partial=self._unanswered([*asked[: settings.num_partial], put]) if branches.partial else (),
            blanked=self._spoken(asked, [settings.blank_reply] * len(asked)) if blanks else (),
            thoughts=self._unanswered([*[thought] * len(asked), put]) if branches.think_longer else (),
            direct=self._unanswered([put])[0],
            lesson=self._lesson(problem, probes) if self.lessons else None,
            gold=self._gold(problem),
        )

    def _least_tokens(self, problem: Problem) -> int:
        """No dialogue about a problem takes less: its shortest probes, replies that are nothing but their end, and room for the
        longest reply to the last probe and for the longest answer.
        """
        *probes, put = (len(turn.asked) for turn in self.visit(problem, probes_of(problem), 0).full)
        said = sum(sorted(probes)[: self.settings.num_probes]) + self.settings.num_probes
        return max(said - 1 + self.settings.reply_tokens, said + put + self.max_tokens)

    def _unanswered(self, questions: Sequence[Message]) -> tuple[Turn, ...]:
        return unanswered(self.prompter.tokenizer, self.prompter.format.beginning, questions)

    def _spoken(self, questions: Sequence[Message], replies: Sequence[str]) -> tuple[Turn, ...]:
        return spoken(self.prompter.tokenizer, self.prompter.format.beginning, questions, replies)

    def _lesson(self, problem: Problem, probes: Sequence[Probe]) -> Trajectory:
        turns = self._spoken([Message("user", probe.text) for probe in probes], [probe.teacher_reply for probe in probes])
        taught = [turn.answered(turn.reply.owned()) for turn in turns if turn.reply]
        return text_trajectory(
            taught, problem_id=problem.id, model=TEACHER, origin="teacher", context="full", metadata=rules(probes)
        )

    def _gold(self, problem: Problem) -> Reply | None:
        """None without a gold answer, which problems are checked for before a run starts."""
        said = self.settings.gold_reply
        if said is None or problem.answer is None:
            return None
        put = self.prompter.format.problem_turn(problem.prompt)
        (turn,) = self._spoken([put], [said.replace("{answer}", problem.answer)])
        assert turn.reply is not None, "it has just been said"
        return turn.reply.owned()
