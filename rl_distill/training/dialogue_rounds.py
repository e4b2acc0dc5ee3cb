"""Rounds of dialogues: every turn of all of them is sampled together, then the answers to the problems in all contexts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rl_distill.rollout.branches import Dialogue, Visit, rules
from rl_distill.rollout.collector import Prompt
from rl_distill.rollout.dialogue import drawn_probes
from rl_distill.rollout.engine import Request, Sampling, shards
from rl_distill.rollout.interview import Interviewer
from rl_distill.rollout.turns import Reply, Turn, request, sampled_reply, token_ids, with_history
from rl_distill.seeding import addressed_seed
from rl_distill.text import closer_id
from rl_distill.training.cursor import Cursor
from rl_distill.training.rounds import Sampler, ShardCollector
from rl_distill.trajectory import Context, Group, Trajectory

CONTROLS: frozenset[Context] = frozenset({"blanked", "shuffled", "think_longer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """Turns of a dialogue that are replied to one after another.

    script  what is asked, unanswered
    limits  tokens of the longest reply to each
    turns   those that have been replied to
    """

    dialogue: Dialogue
    context: Context
    script: tuple[Turn, ...]
    limits: tuple[int, ...]
    turns: tuple[Turn, ...] = ()

    @property
    def asked(self) -> tuple[Turn, ...]:
        """Up to the next turn, which nobody has replied to."""
        return (*self.turns, self.script[len(self.turns)])

    @property
    def limit(self) -> int:
        return self.limits[len(self.turns)]

    def answered(self, reply: Reply) -> "Talk":
        *before, last = self.asked
        return replace(self, turns=(*before, last.answered(reply)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer to be sampled after the turns of a dialogue; `branch` is 0 for the dialogue's own attempt, else counts from 1."""

    dialogue: Dialogue
    context: Context
    branch: int
    turns: tuple[Turn, ...]

    def attempt(self, sampled: Trajectory) -> Trajectory:
        """The whole conversation, with what an engine made of its last turn."""
        *before, _ = self.turns
        return replace(
            with_history(sampled, self.turns),
            context=self.context,
            dialogue=self.dialogue.number,
            control=self.context in CONTROLS or (self.context == "full" and self.branch > 0),
            metadata=rules(self.dialogue.visit.probes[: len(before)]) if self.context != "think_longer" else {},
        )


class DialogueRounds(ShardCollector):
    """The rounds of a stage whose problems are put behind dialogues; see `rounds.Rounds`. None runs ahead of training.

    A group holds the dialogues' own attempts first, then each dialogue's branches, then what a teacher says. A dialogue of which
    some prompt with its longest reply exceeds the context is dropped whole.

    Args:
        address: run seed and stage name; with step, epoch, dialogue, context, turn, branch and problem the address of a seed.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        sampler: Sampler,
        sampling: Sampling,
        interviewer: Interviewer,
        *,
        address: tuple[int, str],
        cursor: Cursor,
        size: int,
        group_size: int,
    ) -> None:
        super().__init__(sampler)
        self.prompts, self.sampling, self.interviewer = prompts, sampling, interviewer
        self.address, self.cursor, self.size, self.group_size = address, cursor, size, group_size
        self.settings, self.max_context = interviewer.settings, interviewer.prompter.max_context
        self._closer = closer_id(interviewer.prompter.tokenizer)
        self._counts: Counter[str] = Counter()
        self._step, self._wave = 0, 0
        self._held: list[Dialogue] = []  # of the step so far: who lends replies

    def submit_ahead(self, version: int) -> None:
        """Nothing may start before the weights are there that learnt from all that came before."""

    def take(self, step: int) -> list[Group]:
        """The groups of a step, unscored."""
        self._step, self._wave, self._held = step, 0, []
        self._counts.clear()
        return self._groups(self.size)

    def refill(self, step: int, number: int, count: int) -> list[Group]:
        """So many further groups for a step."""
        return self._groups(count)

    def ready(self) -> int:
        return 0

    def state(self) -> dict[str, Any]:
        return {"taken": self.cursor.taken}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.cursor.taken = state["taken"]

    def report(self) -> dict[str, float]:
        """Metrics of the step's dialogues."""
        counts = self._counts
        found = {
            "dialogue/turns": float(counts["turns"]),
            "dialogue/dropped": float(counts["dropped"]),
            "dialogue/dropped_fraction": counts["dropped"] / counts["begun"],
            "dialogue/truncated_replies": float(counts["truncated"]),
        }
        if counts["replies"]:
            found["dialogue/reply_tokens"] = counts["reply_tokens"] / counts["replies"]
        return found

    def _groups(self, count: int) -> list[Group]:
        visits = [self._visit() for _ in range(count)]
        begun = [Dialogue(visit=visit, number=number) for visit in visits for number in range(self.group_size)]
        first = len(self._held)
        self._held += self._with_thoughts(self._with_replies(begun))
        answers = [self._answers(place) for place in range(first, len(self._held))]
        asked = [answer for of_dialogue in answers for answer in of_dialogue]
        attempts = self._sampled([self._request(one.dialogue, one.context, one.turns, one.branch) for one in asked])
        made = [(answer, answer.attempt(attempt)) for answer, attempt in zip(asked, attempts, strict=True)]
        self._counts["begun"] += len(begun)
        self._counts["dropped"] += len(begun) - sum(map(bool, answers))
        return [_group(visit, [(one, attempt) for one, attempt in made if one.dialogue.visit is visit]) for visit in visits]

    def _visit(self) -> Visit:
        epoch, index = self.cursor.at(self.cursor.take())
        problem = self.prompts[index].problem
        probes = drawn_probes(problem, self.settings.num_probes, *self.address, self._step, epoch)
        return self.interviewer.visit(problem, probes, epoch)

    def _with_replies(self, dialogues: Sequence[Dialogue]) -> list[Dialogue]:
        """Those that have room for all of their probes and replies."""
        limits = (self.settings.reply_tokens,) * self.settings.num_probes
        talks = [Talk(dialogue=one, context="full", script=one.visit.full[:-1], limits=limits) for one in dialogues]
        held = [replace(talk.dialogue, turns=talk.turns) for talk in self._held_talks(talks)]
        replies = [turn.reply for one in held for turn in one.turns if turn.reply]
        self._counts["replies"] += len(replies)
        self._counts["reply_tokens"] += sum(reply.num_sampled for reply in replies)
        self._counts["truncated"] += sum(reply.truncated for reply in replies)
        return held

    def _with_thoughts(self, dialogues: list[Dialogue]) -> list[Dialogue]:
        """Those that have room for as much thought as there is in the replies to their probes, if any is asked for."""
        if not self.settings.branches.think_longer:
            return dialogues
        talks = [
            Talk(
                dialogue=one,
                context="think_longer",
                script=one.visit.thoughts[:-1],
                limits=tuple(turn.reply.num_sampled for turn in one.turns if turn.reply),
            )
            for one in dialogues
        ]
        return [replace(talk.dialogue, thoughts=talk.turns) for talk in self._held_talks(talks)]

    def _held_talks(self, talks: Sequence[Talk]) -> Sequence[Talk]:
        """Those that do not outgrow the context, with all replies. Turn t of all of them is sampled together."""
        for _ in range(self.settings.num_probes):
            talks = [talk for talk in talks if self._fits(talk.asked, talk.limit)]
            requests = [self._request(talk.dialogue, talk.context, talk.asked, 0, talk.limit) for talk in talks]
            replies = [
                sampled_reply(asked, attempt).closed(self._closer)
                for asked, attempt in zip(requests, self._sampled(requests), strict=True)
            ]
            talks = [talk.answered(reply) for talk, reply in zip(talks, replies, strict=True)]
        return talks

    def _answers(self, place: int) -> list[Answer]:
        """Those at the end of a dialogue, in the order in which they stand in its group; [] if one has no room."""
        dialogue = self._held[place]
        found = [Answer(dialogue=dialogue, context="full", branch=0, turns=dialogue.before_answer("full"))]
        for context, count in self.settings.branches.items():
            lender = self._lender(place) if context == "shuffled" and count else None
            if context == "shuffled" and count and lender is None:
                return []
            turns = dialogue.before_answer(context, lender) if count else ()
            found += [Answer(dialogue=dialogue, context=context, branch=1 + number, turns=turns) for number in range(count)]
        ends = [answer.turns for answer in found] + ([dialogue.before_answer("blanked")] if dialogue.visit.gold else [])
        longest = max(self.sampling.max_tokens, len(dialogue.visit.gold.token_ids) if dialogue.visit.gold else 0)
        return found if all(self._fits(turns, longest) for turns in ends) else []

    def _lender(self, place: int) -> Dialogue | None:
        """The dialogue of the same number at the step's next other problem, after the last of them the first."""
        own = self._held[place]
        others = (*self._held[place + 1 :], *self._held[:place])
        return next((one for one in others if one.number == own.number and one.visit.problem.id != own.visit.problem.id), None)

    def _fits(self, turns: Sequence[Turn], max_tokens: int) -> bool:
        return len(token_ids(turns)) + max_tokens <= self.max_context

    def _request(
        self, dialogue: Dialogue, context: Context, turns: Sequence[Turn], branch: int, max_tokens: int | None = None
    ) -> Request:
        visit = dialogue.visit
        address = (self._step, visit.epoch, dialogue.number, context, len(turns), branch, visit.problem.id)
        sampling = self.sampling if max_tokens is None else replace(self.sampling, max_tokens=max_tokens)
        return request(turns, visit.problem.id, sampling, addressed_seed(*self.address, *address))

    def _sampled(self, requests: Sequence[Request]) -> list[Trajectory]:
        """One wave: an attempt for each request, in order."""
        if not requests:
            return []
        parts = [(shard, self.sampler.submit(shard)) for shard in shards(requests, self.sampler.shard_size)]
        attempts = self.collect(parts, step=self._step, number=self._wave, version=self._step)
        self._wave += 1
        self._counts["turns"] += len(requests)
        return attempts


def _group(visit: Visit, made: Sequence[tuple[Answer, Trajectory]]) -> Group:
    """Own attempts, branches, then what a teacher says; nothing where no dialogue is left."""
    own = [attempt for answer, attempt in made if not answer.branch]
    branches = [attempt for answer, attempt in made if answer.branch]
    dialogues = [answer.dialogue for answer, _ in made if not answer.branch]
    lessons = [visit.lesson] if visit.lesson and own else []
    gold = [row for dialogue in dialogues for row in dialogue.gold_rows()]
    return Group(problem=visit.problem, trajectories=(*own, *branches, *lessons, *gold))
