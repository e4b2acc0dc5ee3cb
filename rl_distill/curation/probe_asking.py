"""Asking about probes: every distinct conversation once, its answers kept, wherever a killed command stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rl_distill.curation.fingerprint import canonical_json, run_settings
from rl_distill.curation.generate import Generation, Note, generate
from rl_distill.curation.store import ResponseStore
from rl_distill.curation.teacher import Response, Teacher, TeacherRequest, TeacherSampling
from rl_distill.curation.teachers import AnyTeacher, build_teacher
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Message

Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class ProbeQuestion:
    """A conversation that ends with what is asked, the problem it is about, and what the answer is wanted for."""

    purpose: str
    problem_id: str
    conversation: Conversation

    def request(self, sampling: TeacherSampling, seed: int, index: int) -> TeacherRequest:
        """Of its `index`-th answer; a function of the purpose and the words, so that two that ask the same are one."""
        words = canonical_json([self.purpose, self.conversation])
        key = f"{sha256(words.encode()).hexdigest()[:24]}-{index}"
        has_system = self.conversation[0].role == "system"
        return TeacherRequest(
            row_key=key,
            problem_id=self.problem_id,
            messages=self.conversation[has_system:],
            system_prompt=self.conversation[0].content if has_system else None,
            sampling=sampling,
            seed=addressed_seed(seed, "probes", key),
        )


@dataclass(frozen=True, slots=True)
class Respondent:
    """Who is asked, and the folder that keeps the answers; one budget for all that it is asked, in whatever stage.

    sampling  names the store; each call says how its answers are drawn
    """

    teacher: AnyTeacher
    limits: Generation
    sampling: TeacherSampling
    seed: int
    store: Path
    note: Note

    def answers(
        self, questions: Sequence[ProbeQuestion], sampling: TeacherSampling, num_samples: int = 1
    ) -> list[list[Response]]:
        """`num_samples` answers to each question, in order.

        Raises:
            InputError: the teacher cannot do what is asked.
            Unfinished: asking ended before all had an answer; repeat to go on.
        """
        if not questions:
            return []
        teacher = build_teacher(self.teacher, self.limits.retry)
        asked = [[question.request(sampling, self.seed, index) for index in range(num_samples)] for question in questions]
        distinct = list({request.row_key: request for requests in asked for request in requests}.values())
        with ResponseStore(self.store, respondent_settings(teacher, self.sampling, self.seed)) as store:
            done = generate(teacher, distinct, store, self.limits, self.note)
            found = {response.row_key: response for response in done.responses()}
        return [[found[request.row_key] for request in requests] for requests in asked]


def respondent_settings(teacher: Teacher, sampling: TeacherSampling, seed: int) -> dict[str, Any]:
    """What names the store of a respondent's answers; the rest is part of each row."""
    return run_settings(teacher, template="probes", sampling=sampling, seed=seed)


def bill(answers: Sequence[Sequence[Response]]) -> dict[str, float]:
    """What the answers that are used took, each counted once; calls that failed are on the store's bill alone."""
    distinct = {response.row_key: response for responses in answers for response in responses}.values()
    return {
        "answers": len(distinct),
        "prompt_tokens": sum(response.prompt_tokens for response in distinct),
        "completion_tokens": sum(response.completion_tokens for response in distinct),
        "price": sum(response.price for response in distinct),
    }
