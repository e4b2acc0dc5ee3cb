"""Gradients side by side are those of the real learner, and their parts and credits account for all of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dialogue_groups import answer, dialogue_group
from mixed_groups import mixed_groups, save_student
from refusals import refused
from run_costs import result, write_run
from tiny_runs import tiny_student

import rl_distill
from rl_distill.algorithms import ALGORITHMS
from rl_distill.algorithms.base import REFERENCE_NEEDS, TEACHER_NEEDS
from rl_distill.algorithms.exgrpo import Exgrpo
from rl_distill.algorithms.grpo import Grpo
from rl_distill.algorithms.redi import Redi
from rl_distill.algorithms.sft import Sft
from rl_distill.analysis.gradient_learner import GradientLearner
from rl_distill.analysis.gradient_parts import divisions
from rl_distill.analysis.gradient_reading import placed, read_by
from rl_distill.analysis.gradients import LEARNER, gradients
from rl_distill.cli import main
from rl_distill.errors import InputError
from rl_distill.learning.learner_process import LearnerProcess
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.scorer import ModelScorer, ScorerConfig
from rl_distill.learning.step_plan import plan_step
from rl_distill.models.loading import load_model, load_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.records import group_to_dict
from rl_distill.training.loop import credited
from rl_distill.trajectory import Sample

NAMES = [name for name in ALGORITHMS if name != "exgrpo"]


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    return save_student(tmp_path_factory.mktemp("teacher"), seed=5)


@pytest.fixture(scope="module")
def found(student, teacher):
    return gradients(student, mixed_groups(), teacher=teacher, reference=teacher)


def samples_for(algorithm, student: Path, teacher: Path) -> list[Sample]:
    """As the loop makes them."""
    settings = ScorerConfig(pad_id=0, temperature=1.0, max_tokens=4096, chunk_tokens=4096, precision="float32", vocabulary=48)
    taught = replace(settings, column="teacher_logprobs", candidates=algorithm.candidates)
    unused = LocalLearner(load_model(str(student)), load_tokenizer(str(student)), algorithm, LEARNER)
    credit = credited(
        LossTerm(algorithm=algorithm),
        read_by(algorithm, placed(mixed_groups())),
        reference=ModelScorer(load_model(str(teacher)), settings) if algorithm.needs & REFERENCE_NEEDS else None,
        teacher=ModelScorer(load_model(str(teacher)), taught) if algorithm.needs & TEACHER_NEEDS else None,
        learner=unused,
        mini_batches=1,
    )
    return list(credit.samples)


def learners(kind: type[LocalLearner], algorithm, student: Path) -> LocalLearner:
    return kind(load_model(str(student)), load_tokenizer(str(student)), algorithm, LEARNER)


def gradient(learner: LearnerProcess, samples: list[Sample]) -> torch.Tensor:
    (shares,) = plan_step(samples, learner.terms, num_processes=1, max_tokens=learner.config.micro_batch_tokens)
    learner.accumulate(shares)
    return torch.cat([one.grad.flatten().double() for one in learner.trained])


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_learners_and_every_division_adds_up_to_it(name, student, teacher, found) -> None:
    algorithm = ALGORITHMS[name]()
    samples = samples_for(algorithm, student, teacher)
    expected = gradient(learners(LocalLearner, algorithm, student), samples)
    divided = divisions(samples)
    selections = {f"{one.name}/{part}": select for one in divided for part, select in one.parts.items()}
    taken = learners(GradientLearner, algorithm, student).take_apart(samples, selections)
    assert torch.equal(taken.whole, expected) and expected.norm() > 0
    for one in divided:
        together = torch.stack([taken.parts[f"{one.name}/{part}"] for part in one.parts]).sum(dim=0)
        assert torch.allclose(together, expected, atol=1e-6 * float(expected.abs().max()), rtol=1e-4), one.name
    assert found.algorithms[name].norm == pytest.approx(float(expected.norm()), rel=1e-5)
    report = learners(LocalLearner, algorithm, student).step(samples).metrics
    assert found.algorithms[name].norm == pytest.approx(report["gradient/norm"], rel=1e-4)
    assert found.algorithms[name].loss == pytest.approx(report["loss"], abs=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("kd", "gkd")])
def test_credits_pulled_back_through_the_model_are_the_gradient(name, student, teacher, found) -> None:
    """A loss that is linear in log-probs, with the credits as its weights."""
    algorithm = ALGORITHMS[name]()
    samples = samples_for(algorithm, student, teacher)
    learner = learners(GradientLearner, algorithm, student)
    taken = learner.take_apart(samples, {})
    model, total = learner.model, 0.0
    for sample, credits in zip(samples, taken.credits, strict=True):
        ids = torch.tensor([sample.trajectory.token_ids])
        logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(dim=-1).gather(1, ids[0, 1:, None])[:, 0]
        total = total - (torch.tensor(credits[1:]) * logprobs).sum()
    total.backward()
    linear = torch.cat([one.grad.flatten().double() for one in learner.trained])
    assert torch.allclose(linear, taken.whole, atol=1e-6 * float(taken.whole.abs().max()) + 1e-9, rtol=1e-3)


def test_shares_of_a_division_add_up_to_one(found) -> None:
    for name, one in found.algorithms.items():
        for division in ("credit", "verdict", "origin"):
            shares = [part.share for part in one.parts if part.division == division]
            assert sum(share or 0.0 for share in shares) == pytest.approx(1, abs=1e-4), (name, division)


def test_a_gradient_points_where_it_points_itself(found) -> None:
    for row in found.algorithms:
        assert found.cosines[row, row] == pytest.approx(1)
        for column in found.algorithms:
            assert found.cosines[row, column] == pytest.approx(found.cosines[column, row])


def test_credit_is_zero_where_nothing_was_sampled_and_aligned_with_tokens(found) -> None:
    for one in found.algorithms.values():
        assert one.credits
        for (number, place), credits in one.credits.items():
            attempt = found.groups[number].trajectories[place]
            assert len(credits) == len(attempt.token_ids) == len(found.texts[number, place])
            assert not any(value for value, own in zip(credits, attempt.sampled, strict=True) if not own)


def test_who_needs_rollouts_reads_the_students_attempts_and_the_others_all(found) -> None:
    origins = {
        name: {found.groups[number].trajectories[place].origin for number, place in one.credits}
        for name, one in found.algorithms.items()
    }
    assert origins["grpo"] == origins["opd"] == origins["gkd"] == {"policy"}
    assert origins["kd"] == {"policy", "teacher"} and origins["redi"] == {"teacher"}, "the first right and wrong attempts"


def test_redi_without_negatives_is_its_positive_part_and_sft_by_trace(student) -> None:
    compared = gradients(
        student,
        mixed_groups(),
        {"redi": Redi(), "control": Redi(negative_coef=0), "sft": Sft(traces="first_correct", aggregation="sequence_mean")},
    )
    redi, control, sft = (compared.algorithms[name] for name in ("redi", "control", "sft"))
    (imitated,) = [part for part in redi.parts if part.name == "imitated"]
    (avoided,) = [part for part in control.parts if part.name == "avoided"]
    assert control.norm == pytest.approx(imitated.norm, rel=1e-5) == pytest.approx(sft.norm, rel=1e-5)
    assert compared.cosines["control", "sft"] == pytest.approx(1) and avoided.norm == 0
    assert sum(map(sum, redi.credits.values())) == pytest.approx(1 - 0.8, abs=1e-5)


@pytest.mark.parametrize("kl_coef", [0.0, 0.04])
def test_grpo_on_equal_rewards_has_no_gradient_and_points_nowhere(student, kl_coef) -> None:
    """The reference is the student itself, so that a KL to it does not pull either."""
    compared = gradients(student, mixed_groups(rewards=(1.0,) * 4), {"grpo": Grpo(kl_coef=kl_coef), "sft": Sft()})
    assert compared.algorithms["grpo"].norm == pytest.approx(0, abs=1e-6)
    assert compared.cosines["grpo", "sft"] is None and compared.cosines["sft", "sft"] == pytest.approx(1)


def test_micro_batches_change_nothing(student, teacher, found) -> None:
    small = replace(LEARNER, micro_batch_tokens=24, logprob_chunk_tokens=7)
    again = gradients(student, mixed_groups(), teacher=teacher, reference=teacher, learner=small)
    for name, one in found.algorithms.items():
        assert again.algorithms[name].norm == pytest.approx(one.norm, rel=1e-4), name
        for part, other in zip(one.parts, again.algorithms[name].parts, strict=True):
            assert other.norm == pytest.approx(part.norm, rel=1e-3, abs=1e-6)
        for place, credits in one.credits.items():
            assert again.algorithms[name].credits[place] == pytest.approx(credits, rel=1e-3, abs=1e-6)


def test_who_cannot_read_the_groups_is_named_with_the_reason(student) -> None:
    taught = [replace(group, trajectories=group.trajectories[:2]) for group in mixed_groups()]
    compared = gradients(student, taught)
    assert {"grpo", "rloo", "opd", "gkd", "exgrpo"} <= compared.left_out.keys()
    assert all("sampled itself" in why for why in compared.left_out.values())
    assert set(compared.algorithms) == {"sft", "redi", "dpo", "simpo", "kd"}
    assert "dialogues" in gradients(student, mixed_groups(), ["exgrpo"]).left_out["exgrpo"]
    one = [replace(group, trajectories=group.trajectories[2:3]) for group in mixed_groups()]
    assert "2 attempts at one problem, and there are 1" in gradients(student, one, ["grpo"]).left_out["grpo"]


def test_dialogues_are_read_by_who_needs_them(student) -> None:
    told = dialogue_group([True, False, False, True], answer("blanked", 0, False, control=True))
    apart = [replace(one, messages=(), token_ids=(*one.token_ids[:-1], 10 + n)) for n, one in enumerate(told.trajectories)]
    compared = gradients(student, [replace(told, trajectories=tuple(apart))], {"exgrpo": Exgrpo(coherence="none")})
    assert compared.algorithms["exgrpo"].norm > 0 and not compared.left_out


def test_an_algorithm_that_takes_nothing_is_there_with_no_gradient(student) -> None:
    right = [replace(group, trajectories=group.trajectories[:1]) for group in mixed_groups()]
    compared = gradients(student, right, ["sft", "redi"])
    assert (compared.algorithms["redi"].num_samples, compared.algorithms["redi"].norm) == (0, 0.0)
    assert compared.cosines["redi", "redi"] is None and compared.algorithms["sft"].norm > 0


def test_a_student_in_a_runs_folder_is_asked_as_its_recipe_says(tmp_path) -> None:
    """Attempts that are text alone are put to it behind its own instruction."""
    prompt = {"instruction": "1 + 1 = ?"}
    changes = {"student": tiny_student() | {"prompt": prompt}}
    run = write_run(tmp_path / "run", {"base": result(0)}, changes=changes)
    group = Arithmetic(attempts="teacher", num_problems=1).groups()[0]
    plain, asked = (gradients(folder, [group], ["sft"]) for folder in (save_student(tmp_path), run / "stages/base/student"))
    assert len(asked.groups[0].trajectories[0].token_ids) > len(plain.groups[0].trajectories[0].token_ids)


def test_a_run_or_a_stage_of_it_is_its_student_as_everywhere(tmp_path) -> None:
    run = write_run(tmp_path / "run", {"base": result(0), "sft": result(2)})
    save_student(run / "final", seed=9)
    found = gradients(f"{run}:sft", mixed_groups(1), ["sft"], teacher=run, reference=f"{run}:base")
    norm = gradients(run / "stages/sft/student", mixed_groups(1), ["sft"]).algorithms["sft"].norm
    assert found.student == f"{run}:sft" and found.algorithms["sft"].norm == norm
    assert gradients(run, mixed_groups(1), ["sft"]).algorithms["sft"].norm != norm


@pytest.mark.parametrize("who", ["student", "teacher", "reference"])
def test_a_stage_that_is_not_there_is_refused_with_those_that_are(tmp_path, student, who) -> None:
    run = write_run(tmp_path / "run", {"base": result(0)})
    with pytest.raises(InputError, match=rf"{who}: .* has no finished stage 'redi'; give .*run:base"):
        gradients(**{"student": student, who: f"{run}:redi"}, groups=mixed_groups(1), algorithms=["sft"])


def test_it_is_a_door_of_the_package() -> None:
    assert rl_distill.gradients is gradients


def test_the_command_writes_table_data_and_figure(student, tmp_path, capsys) -> None:
    rows = tmp_path / "groups.jsonl"
    rows.write_text("".join(json.dumps(group_to_dict(group)) + "\n" for group in mixed_groups()))
    command = ["gradients", str(student), str(rows), "-o", str(tmp_path / "out"), "--first", "2"]
    assert main([*command, "--algorithms", "redi", "grpo", "exgrpo"]) == 0
    data = json.loads((tmp_path / "out" / "gradients.json").read_text())
    assert data["cosines"]["redi"]["redi"] == pytest.approx(1) and "exgrpo" in data["left_out"]
    assert len(data["attempts"]) == 2 * 6 and len(data["attempts"][0]["tokens"]) == len(data["attempts"][0]["credits"]["redi"])
    assert (tmp_path / "out" / "gradients.png").stat().st_size > 10_000
    assert "left out: exgrpo" in capsys.readouterr().out
    assert main([*command, "--algorithms", "magic"]) == 2
    assert "'magic' is none" in capsys.readouterr().err


def test_groups_without_attempts_or_longer_than_the_context_are_refused(student) -> None:
    with pytest.raises(InputError, match="no attempt"):
        gradients(student, [])
    (group,) = mixed_groups(1)
    long = replace(group.trajectories[0], token_ids=(3,) * 60, sampled=(True,) * 60)
    with pytest.raises(InputError, match="60 tokens"):
        gradients(student, [replace(group, trajectories=(long,))])


def test_an_empty_file_of_groups_is_refused_by_its_name(student, cli, tmp_path) -> None:
    (tmp_path / "rollouts.jsonl").touch()
    text = refused(cli("gradients", student, tmp_path / "rollouts.jsonl", "-o", tmp_path / "out"))
    assert text.startswith("GROUPS: ") and "rollouts.jsonl' holds no group" in text
