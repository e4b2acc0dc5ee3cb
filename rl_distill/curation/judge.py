"""A language model that is asked about answers which rules could not settle."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from rl_distill.config import config, setting
from rl_distill.curation.chat_answer import json_answer
from rl_distill.curation.fingerprint import run_settings
from rl_distill.curation.generate import Generation, Note, generate
from rl_distill.curation.openai_teacher import OpenAiTeacher, OpenAiTeacherConfig
from rl_distill.curation.store import ResponseStore
from rl_distill.curation.teacher import Response, TeacherRequest, TeacherSampling
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Message, Status, Verdict

TEMPLATE = """You compare a solution's final answer with the reference answer to a problem. Do not solve the problem yourself.
The answers agree if they mean the same, however they are written (2/4 and 0.5; 3 hours and 180 minutes; "x = 2" and "2").
They do not agree if the solution gives no answer, several different ones, or one of another value.

# Problem
{problem}

# Reference answer
{gold}

# Solution
{solution}

Say in one sentence what the two answers are, then whether they agree, as JSON: {{"reason": "...", "correct": true or false}}"""
EXPLANATION = """You judge whether a student's explanation answers a question. Do not answer the question yourself.
It is correct if it gives the reason that the reference gives, in whatever words, and contradicts nothing in it.
It is not correct if the reason is missing, another one, or only asserted.

# Question
{problem}

# Reference explanation
{gold}

# The student's explanation
{solution}

Say in one sentence what that reason is, then whether it is correct, as JSON: {{"reason": "...", "correct": true or false}}"""
SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "correct": {"type": "boolean"}},
    "required": ["reason", "correct"],
    "additionalProperties": False,
}
# Of these the rules are sure enough: both plain numbers, nothing to look at, or a program that was run.
SETTLED = frozenset({"number", "exact", "no_gold", "truncated", "generation_error", "too_long"})


@config
class Judge:
    """Asked where rules did not say "correct" and are not sure: another spelling, an answer outside its box, a time-out.

    It sees the problem, the gold answer and the last part of the response, without the reasoning before it.
    """

    model: OpenAiTeacherConfig = setting(about="who judges")
    limits: Generation = setting(Generation(), about="retries, prices and limits of its own")
    max_tokens: int = setting(512, about="longest verdict", unit="tokens", ge=1)
    max_chars: int = setting(4000, about="of the response's end that it sees", unit="characters", ge=100)

    @property
    def sampling(self) -> TeacherSampling:
        return TeacherSampling(temperature=0.0, max_tokens=self.max_tokens)


@dataclass(frozen=True, slots=True)
class JudgeQuestion:
    """What a judge is asked: one is asked once, however many attempts come to the same words."""

    problem_id: str
    problem: str
    gold: str
    solution: str

    def request(self, judge: Judge, seed: int, template: str = TEMPLATE) -> TeacherRequest:
        text = template.format(problem=self.problem, gold=self.gold, solution=self.solution[-judge.max_chars :])
        key = sha256(text.encode()).hexdigest()[:24]
        return TeacherRequest(
            row_key=key,
            problem_id=self.problem_id,
            messages=(Message("user", text),),
            sampling=judge.sampling,
            schema=SCHEMA,
            seed=addressed_seed(seed, "judge", key),
        )


class Bench:
    """A judge whose answers are kept below a folder.

    Args:
        template: how it is asked; TEMPLATE for final answers, EXPLANATION for reasons.
    """

    def __init__(self, judge: Judge, seed: int, store: Path, note: Note, template: str = TEMPLATE) -> None:
        self._judge, self._seed, self._store, self._note, self._template = judge, seed, store, note, template

    def verdicts(self, questions: Sequence[JudgeQuestion], before: Sequence[Verdict]) -> list[Verdict]:
        """What the judge says of each; where no answer of its could be read, the verdict of the rules stands.

        Args:
            before: what the rules said.

        Raises:
            Unfinished: too few of its answers can be read.
        """
        requests = {question: question.request(self._judge, self._seed, self._template) for question in questions}
        teacher = OpenAiTeacher(self._judge.model, self._judge.limits.retry)
        settings = run_settings(teacher, template=self._template, sampling=self._judge.sampling, seed=self._seed, schema=SCHEMA)
        with ResponseStore(self._store, settings) as store:
            unique = list({request.row_key: request for request in requests.values()}.values())
            done = generate(teacher, unique, store, self._judge.limits, self._note)
            found = {response.row_key: response for response in done.responses()}
        return [_verdict(found[requests[question].row_key], rule) for question, rule in zip(questions, before, strict=True)]


def _verdict(response: Response, rule: Verdict) -> Verdict:
    if response.failure is not None:
        return Verdict(status=rule.status, method=rule.method, detail=f"judge failed: {response.failure}")
    said = json_answer(response.text)
    status: Status = "correct" if said["correct"] else "wrong"
    return Verdict(status=status, method="judge", detail=f"{rule.method}: {rule.status}; {said['reason']}")
