"""A language model that marks behaviors in responses: twice, blind, in shuffled order, every answer kept."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from rl_distill.analysis.behavior_spans import Span, distinct, verified_spans
from rl_distill.analysis.behaviors import Rubric, load_rubric
from rl_distill.analysis.samples import Recorded, SampleSet
from rl_distill.analysis.text_parts import parts
from rl_distill.config import config, parse, read_yaml, setting
from rl_distill.curation.chat_answer import json_answer
from rl_distill.curation.fingerprint import run_settings
from rl_distill.curation.generate import Generation, Note, generate
from rl_distill.curation.openai_teacher import OpenAiTeacher, OpenAiTeacherConfig
from rl_distill.curation.store import ResponseStore
from rl_distill.curation.teacher import Response, TeacherRequest, TeacherSampling
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Message

PASSES = 2
Part = tuple[int, int]


@config
class BehaviorJudge:
    """Who marks behaviors, and how. It sees the problem and a part of a response: no verdict, no model, no order."""

    model: OpenAiTeacherConfig = setting(about="who judges")
    limits: Generation = setting(Generation(), about="retries, prices and limits")
    seed: int = setting(0, about="of the order and of both passes")
    rubric: str | None = setting(None, about="file of behaviors; none is the package's behaviors.yaml")
    temperature: float = setting(0.6, about="of the judge; at 0 two passes would say little about it", ge=0)
    max_tokens: int = setting(2048, about="longest answer", unit="tokens", ge=1)
    part_chars: int = setting(8000, about="of a response that are shown at once, about 2,000 tokens", unit="characters", ge=200)
    overlap_chars: int = setting(800, about="that two neighbouring parts share", unit="characters", ge=0)
    keywords_first: bool = setting(False, about="ask only about parts that hold a keyword of the rubric; the others hold nothing")

    def __post_init__(self) -> None:
        if self.overlap_chars >= self.part_chars // 2:
            raise ValueError(f"overlap_chars {self.overlap_chars} is not below half of part_chars {self.part_chars}: lower it")

    @property
    def sampling(self) -> TeacherSampling:
        return TeacherSampling(temperature=self.temperature, max_tokens=self.max_tokens)


@dataclass
class Judged:
    """What came of judging.

    spans    by pass and response, in the order of the responses; None where an answer about it could not be read
    dropped  quotes that do not count, by reason
    answers  good ones, `without_spans` among them, and `failed` ones, by kind
    """

    rubric: Rubric
    spans: list[list[list[Span] | None]]
    dropped: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)


def load_judge(path: Path) -> BehaviorJudge:
    """
    Raises:
        InputError: naming the key of the recipe and what is wrong with it.
    """
    return parse(BehaviorJudge, read_yaml(path))


def judge_behaviors(judge: BehaviorJudge, sets: Sequence[SampleSet], store: Path, note: Note = print) -> list[Judged]:
    """Have every response of every set judged; one `Judged` for each set.

    Args:
        store: folder of the answers; a repeated call goes on where a killed one stopped.

    Raises:
        InputError: the judge cannot be asked.
        Unfinished: too few answers can be read, or a limit was reached.
    """
    rubric = load_rubric(judge.rubric)
    asked = [[_parts(judge, rubric, one) for one in samples.responses] for samples in sets]
    requests: dict[str, TeacherRequest] = {}
    for samples, divided in zip(sets, asked, strict=True):
        for one, some in zip(samples.responses, divided, strict=True):
            for number in range(PASSES):
                for part in some:
                    request = _request(judge, rubric, samples.prompts[one.problem_id], one, part, number)
                    requests[request.row_key] = request
    answers = _answers(judge, rubric, list(requests.values()), store, note) if requests else {}
    return [_judged(judge, rubric, samples, divided, answers) for samples, divided in zip(sets, asked, strict=True)]


def _parts(judge: BehaviorJudge, rubric: Rubric, response: Recorded) -> list[Part]:
    if not response.text.strip():
        return []
    found = list(parts(response.text, judge.part_chars, judge.overlap_chars))
    if not judge.keywords_first:
        return found
    hits = [(match.start, match.end) for match in rubric.keywords().find(response.text)]
    return [
        (start, end)
        for start, end in found
        if (next_hit := bisect_left(hits, (start, 0))) < len(hits) and hits[next_hit][1] <= end
    ]


def _request(judge: BehaviorJudge, rubric: Rubric, problem: str, response: Recorded, part: Part, number: int) -> TeacherRequest:
    """A function of what is shown and of the pass alone, so that models that said the same are judged once and alike."""
    text = rubric.question(problem, response.text[slice(*part)])
    key = f"{sha256(text.encode()).hexdigest()[:24]}-{number}"
    return TeacherRequest(
        row_key=key,
        problem_id=response.problem_id,
        messages=(Message("user", text),),
        sampling=judge.sampling,
        schema=rubric.schema,
        seed=addressed_seed(judge.seed, "behaviors", key),
    )


def _answers(
    judge: BehaviorJudge, rubric: Rubric, requests: Sequence[TeacherRequest], store: Path, note: Note
) -> Mapping[str, Response]:
    """By row; asked in an order that tells nothing about models and problems."""
    shuffled = sorted(requests, key=lambda one: addressed_seed(judge.seed, "order", one.row_key))
    teacher = OpenAiTeacher(judge.model, judge.limits.retry)
    settings = run_settings(teacher, template=rubric.prompt, sampling=judge.sampling, seed=judge.seed, schema=rubric.schema)
    with ResponseStore(store, settings) as kept:
        return {one.row_key: one for one in generate(teacher, shuffled, kept, judge.limits, note).responses()}


def _judged(
    judge: BehaviorJudge,
    rubric: Rubric,
    samples: SampleSet,
    divided: Sequence[Sequence[Part]],
    answers: Mapping[str, Response],
) -> Judged:
    made = Judged(rubric, [[] for _ in range(PASSES)])
    for number in range(PASSES):
        for one, some in zip(samples.responses, divided, strict=True):
            rows = [_request(judge, rubric, samples.prompts[one.problem_id], one, part, number).row_key for part in some]
            read = [_spans(answers[row], one.text, part, made) for row, part in zip(rows, some, strict=True)]
            known = [spans for spans in read if spans is not None]
            whole = len(known) == len(read)
            made.spans[number].append(distinct([span for spans in known for span in spans]) if whole else None)
    return made


def _spans(answer: Response, text: str, part: Part, made: Judged) -> list[Span] | None:
    """The spans of an answer; None where it cannot be read."""
    if answer.failure is not None:
        made.answers[f"failed: {answer.failure}"] += 1
        return None
    made.answers["good"] += 1
    quoted = json_answer(answer.text)["spans"]
    if not quoted:
        made.answers["without_spans"] += 1
    return verified_spans(quoted, text, part, made.dropped)
