"""What is asked about probes: the same words once, all out of one budget."""

from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import ChatServer

from rl_distill.curation.budget import Budget
from rl_distill.curation.endpoint import EndpointConfig
from rl_distill.curation.generate import Generation, Unfinished
from rl_distill.curation.openai_teacher import OpenAiTeacherConfig
from rl_distill.curation.probe_asking import ProbeQuestion, Respondent, bill
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.trajectory import Message

SAMPLING = TeacherSampling(max_tokens=20)


@pytest.fixture
def respondent(server: ChatServer, tmp_path: Path) -> Callable[..., Respondent]:
    def make(**budget: int) -> Respondent:
        teacher = OpenAiTeacherConfig(model="tiny", endpoints=(EndpointConfig(base_url=server.base_url),))
        return Respondent(teacher, Generation(budget=Budget(**budget)), SAMPLING, 0, tmp_path, lambda _: None)

    return make


def asked(text: str, *, purpose: str = "answer", problem: str = "p") -> ProbeQuestion:
    return ProbeQuestion(purpose, problem, (Message("user", text),))


def test_the_same_words_for_the_same_purpose_are_asked_once(respondent, server):
    before = len(server.calls())
    questions = [asked("Why this?"), asked("Why that?"), asked("Why this?", problem="q"), asked("Why this?", purpose="student")]
    answers = respondent().answers(questions, SAMPLING, num_samples=2)
    assert len(server.calls()) - before == 6
    assert answers[0] == answers[2] != answers[3] and answers[0] != answers[1]
    assert len({response.seed for responses in answers for response in responses}) == 6
    assert bill(answers) == {"answers": 6, "prompt_tokens": 60, "completion_tokens": 30, "price": 0.0}
    assert respondent().answers(questions, SAMPLING, num_samples=2) == answers and len(server.calls()) - before == 6


def test_a_system_turn_is_sent_as_one(respondent, server):
    question = ProbeQuestion("student", "p", (Message("system", "Be brief."), Message("user", "Why brief?")))
    respondent().answers([question], SAMPLING)
    assert [turn["role"] for turn in server.calls()[-1]["body"]["messages"]] == ["system", "user"]


def test_nothing_to_ask_asks_nothing(respondent):
    assert respondent().answers([], SAMPLING) == []


def test_one_budget_holds_for_all_that_is_asked(respondent):
    first, second = asked("What first?"), asked("What next?")
    longest = first.request(SAMPLING, 0, 0).max_prompt_tokens + SAMPLING.max_tokens
    respondent(max_tokens=longest).answers([first], SAMPLING)
    with pytest.raises(Unfinished, match="budget.max_tokens"):
        respondent(max_tokens=longest).answers([second], SAMPLING)
