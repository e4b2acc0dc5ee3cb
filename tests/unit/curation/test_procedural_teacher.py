"""The micro-world's teacher behind the protocol."""

import pytest
from teacher_calls import asked

from rl_distill.curation.procedural_teacher import ProceduralTeacher
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.errors import InputError
from rl_distill.problems.arithmetic import Arithmetic

PLAIN = TeacherSampling()
QUESTIONS = [group.problem.prompt for group in Arithmetic(num_problems=30).groups()]
ANSWERS = [group.problem.answer for group in Arithmetic(num_problems=30).groups()]


def test_it_answers_in_its_own_manner_mostly_right_and_sometimes_cut_off(curate):
    made = curate(ProceduralTeacher(), asked(QUESTIONS, num_samples=8, sampling=PLAIN))
    responses = made.responses
    assert len(responses) == 240 and {response.failure for response in responses} == {None, "length"}
    right = [response.raw["answer"] == ANSWERS[index // 8] for index, response in enumerate(responses)]
    assert 60 < sum(right) < 230
    assert all(f"\\boxed{{{response.raw['answer']}}}" in response.text for response in responses if response.failure is None)
    assert any("free (prices are 0)" in note for note in made.notes)


def test_an_answer_is_a_function_of_the_seed_and_the_question(curate, tmp_path):
    texts = [
        [response.text for response in curate(ProceduralTeacher(), asked(questions, seed=seed, sampling=PLAIN)).responses]
        for questions, seed in ((QUESTIONS, 0), (QUESTIONS[::-1], 0), (QUESTIONS, 1))
    ]
    assert texts[0] == texts[1][::-1] and texts[0] != texts[2]


def test_a_question_of_another_world_is_refused(curate):
    with pytest.raises(InputError, match="'p0' is no chain"):
        curate(ProceduralTeacher(), asked(["What is love?"], sampling=PLAIN))


@pytest.mark.parametrize(
    "settings",
    [
        {"sampling": TeacherSampling(temperature=0.5)},
        {"sampling": PLAIN, "system_prompt": "x"},
        {"sampling": PLAIN, "schema": {}},
    ],
)
def test_what_would_have_no_effect_is_refused(curate, settings):
    with pytest.raises(InputError, match="drop it"):
        curate(ProceduralTeacher(), asked(QUESTIONS, **settings))
