"""Questions for a teacher, and teachers at the servers of tests."""

from typing import Any

from rl_distill.curation.endpoint import EndpointConfig
from rl_distill.curation.failures import RetryPolicy
from rl_distill.curation.fingerprint import run_settings
from rl_distill.curation.generate import Generated
from rl_distill.curation.openai_teacher import OpenAiTeacher, OpenAiTeacherConfig
from rl_distill.curation.teacher import Response, Teacher, TeacherRequest, TeacherSampling, requests_for
from rl_distill.trajectory import Message, Problem

FAST = RetryPolicy(max_attempts=3, first_pause=0.01, max_pause=0.02, max_pauses=8)


def asked(questions: list[str], *, num_samples: int = 1, seed: int = 0, **settings: Any) -> list[TeacherRequest]:
    problems = [Problem(id=f"p{number}", prompt=text, answer=None, source="test") for number, text in enumerate(questions)]
    conversations = [(Message("user", text),) for text in questions]
    sampling = settings.pop("sampling", TeacherSampling(max_tokens=20))
    return requests_for(problems, conversations, num_samples=num_samples, sampling=sampling, seed=seed, **settings)


def teacher_at(*urls: str, retry: RetryPolicy = FAST, request_timeout: float = 5.0, **settings: Any) -> OpenAiTeacher:
    own = {name: settings.pop(name) for name in list(settings) if name in EndpointConfig.__dataclass_fields__}
    endpoints = tuple(EndpointConfig(base_url=url, **own) for url in urls)
    config = OpenAiTeacherConfig(**{"model": "tiny"} | settings, endpoints=endpoints, request_timeout=request_timeout)
    return OpenAiTeacher(config, retry)


def settings_of(teacher: Teacher) -> dict[str, Any]:
    return run_settings(teacher, template="{problem}", sampling=TeacherSampling(), seed=0)


class Curated:
    """What came of a call of `generate`."""

    def __init__(self, generated: Generated, notes: list[str]) -> None:
        self.generated, self.notes = generated, notes
        self.responses: list[Response] = list(generated.responses())
