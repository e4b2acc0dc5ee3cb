"""Probes from a teacher to training: every filter does what it says on planted cases, and nothing is asked twice."""

import json
import random
import re
from pathlib import Path

import pytest
import yaml
from chat_server import chat_server
from curation_kills import killed_while_it_asks
from probe_replies import rules
from refusals import refused
from tiny_runs import taught

from rl_distill.curation.stage_folder import StageFolder
from rl_distill.probes import Probe, probes_of, probes_to_plain, recorded_probes
from rl_distill.records import read_groups

QUESTIONS = ["I had 9 and gave 2. How many are left?", "I had 8 (easy) and gave 3. How many are left?",
             "I had 30 (hard) and gave 4. How many are left?"]  # fmt: skip
STAGES = ("probe_write", "probe_leaks", "probe_answer", "probe_consistency", "probe_rise", "probe_difficulty")


@pytest.fixture(scope="module")
def teacher():
    with chat_server() as running:
        yield running


@pytest.fixture(scope="module")
def student():
    with chat_server(model="base") as running:
        yield running


@pytest.fixture
def probing(tmp_path, teacher):
    """Writes a recipe with these rules; (its path, its folder)."""
    rows = [{"question": text, "gold": str(gold), "samples": [{"text": f"so \\boxed{{{gold}}}", "correct": True}]}
            for text, gold in zip(QUESTIONS, (7, 5, 26), strict=True)]  # fmt: skip
    (tmp_path / "solved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(*words, server=teacher, folder="curated", **changes):
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules(*words)))
        block = {"rules": str(tmp_path / "rules.yaml"), "teacher": model_at(server, "tiny"), **changes.pop("probes", {})}
        tree = {
            "name": "probed",
            "folder": str(tmp_path / folder),
            "problems": [{"name": "graded_samples", "path": str(tmp_path / "solved.jsonl")}],
            "dedup": None,
            "pairs": None,
            "probes": block,
        }
        path = tmp_path / f"{folder}.yaml"
        path.write_text(yaml.safe_dump(tree | changes))
        return path, tmp_path / folder

    return write


def model_at(server, model):
    return {"name": "openai", "model": model, "endpoints": [{"base_url": server.base_url, "concurrency": 4}]}


def stage(folder: Path, name: str) -> StageFolder:
    return StageFolder(folder / "stages" / name)


def published(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "data").rglob("*")) if path.is_file()}


def lost(folder: Path, name: str) -> dict[str, dict[str, int]]:
    return stage(folder, name).facts()["lost"]


def test_each_filter_labels_what_was_planted_for_it(probing, cli):
    path, folder = probing("good", "misleads", "leaks")
    code, _, err = cli("curate", path)
    assert (code, err) == (0, "")
    assert lost(folder, "probe_leaks") == {"leaks": {"leaks_gold": 3}}
    assert lost(folder, "probe_consistency") == {"misleads": {"inconsistent": 3}}
    groups = list(read_groups(folder / "data" / "sft.jsonl"))
    assert len(groups) == 3
    for group in groups:
        good, misleads, leaks = recorded_probes(group.problem)
        assert (good.consistent, good.leaks_gold, good.survives) == (True, False, True)
        assert good.text.endswith("\nPut the final answer within \\boxed{}.") and good.teacher_answer == "42"
        assert misleads.consistent is False and not misleads.survives
        assert leaks.leaks_gold and leaks.consistent is None and leaks.teacher_reply == "", "nobody is paid for what is lost"
        assert probes_of(group.problem) == (good,)


def test_probes_that_are_none_leave_the_record_with_their_reason(probing, cli):
    path, folder = probing("good", "none", "unparsable", "foreign", "strange", "unboxed")
    assert cli("curate", path)[0] == 0
    assert lost(folder, "probe_write") == {
        "none": {"not_applicable": 3}, "unparsable": {"unparsable": 3}, "foreign": {"wrong_language": 3},
    }  # fmt: skip
    assert lost(folder, "probe_answer") == {"strange": {"wrong_language": 3}, "unboxed": {"no_answer": 3}}
    drops = [*stage(folder, "probe_write").drops(), *stage(folder, "probe_answer").drops()]
    assert {drop.kind for drop in drops} == {"probe"} and all(drop.probe and drop.problem_id for drop in drops)
    assert any("most in cjk" in drop.detail for drop in drops)


def test_a_silent_teacher_costs_its_probes_only(probing, cli):
    patience = {"retry": {"max_attempts": 1}, "min_success_rate": 0.1}
    path, folder = probing("good", "silent", probes={"limits": patience})
    assert cli("curate", path)[0] == 0
    assert lost(folder, "probe_answer") == {"silent": {"not_answered": 3}}


def test_problems_that_are_too_easy_or_too_hard_for_the_base_student_go(probing, cli, student):
    path, folder = probing("good", "other", probes={"student": {"model": model_at(student, "base")}})
    assert cli("curate", path)[0] == 0
    found = stage(folder, "probe_difficulty")
    (kept,) = found.groups()
    assert kept.problem.prompt == QUESTIONS[0]
    assert [probe.student_base_correct for probe in probes_of(kept.problem)] == [True, False]
    assert [(drop.reason, drop.detail) for drop in found.drops()] == [
        ("too_easy", "the base student answers 2 of 2 checked probes"),
        ("too_hard", "the base student answers 0 of 2 checked probes"),
    ]
    assert found.facts()["student_correct"] == {"good": {"correct": 2, "wrong": 1}, "other": {"correct": 1, "wrong": 2}}


def test_explanations_count_only_with_a_judge_who_is_asked_once(probing, cli, student, teacher):
    words = ("good", "open_right", "open_wrong")
    base = {"model": model_at(student, "base"), "tau_hard": 0}
    path, folder = probing(*words, probes={"student": base})
    assert cli("curate", path)[0] == 0
    labels = {group.problem.prompt: [probe.student_base_correct for probe in probes_of(group.problem)]
              for group in stage(folder, "probe_difficulty").groups()}  # fmt: skip
    assert labels == {QUESTIONS[2]: [False, None, None]}, "with one closed probe the others are all too easy"
    path, folder = probing(*words, probes={"student": {**base, "judge": {"model": model_at(teacher, "tiny")}}})
    before = len(teacher.calls())
    assert cli("curate", path)[0] == 0
    num_judged = len(teacher.calls()) - before
    assert num_judged == 6, "two open probes of three problems"
    labels = {group.problem.prompt: [probe.student_base_correct for probe in probes_of(group.problem)]
              for group in stage(folder, "probe_difficulty").groups()}  # fmt: skip
    assert labels == {QUESTIONS[0]: [True, True, False], QUESTIONS[2]: [False, False, False]}
    assert cli("curate", path, "probes.student.tau_hard=1")[0] == 0
    assert len(teacher.calls()) == before + num_judged


def test_a_probe_that_makes_the_base_student_solve_the_problem_leaks(probing, cli, student):
    base = {"model": model_at(student, "base"), "tau_hard": 0, "rise": {"num_samples": 2}}
    path, folder = probing("tells", "good", "other", probes={"student": base})
    assert cli("curate", path)[0] == 0
    assert lost(folder, "probe_rise") == {"tells": {"student_rises": 3}}
    assert stage(folder, "probe_rise").facts()["mean_rise"] == pytest.approx(1 / 3)


def test_a_probe_that_asks_what_the_evaluation_asks_is_left_out(probing, cli, tmp_path):
    row = {"question": "The zebra sang nine songs to a tired old king of the silver mountain range last winter.",
           "gold": "9", "samples": []}  # fmt: skip
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    against = [{"name": "graded_samples", "path": str(tmp_path / "test.jsonl")}]
    path, folder = probing("good", "copies", decontaminate={"against": against})
    assert cli("curate", path)[0] == 0
    assert lost(folder, "probe_leaks") == {"copies": {"in_evaluation": 3}}


def test_killed_again_and_again_it_asks_for_no_stored_answer_again_and_publishes_the_same_bytes(probing, cli, tmp_path, student):
    words = ("good", "other", "open_right", "leaks")
    block = {"student": {"model": model_at(student, "base"), "tau_hard": 0}}
    draw = random.Random(0)
    with chat_server(seconds=0.1) as server:
        path, folder = probing(*words, server=server, probes=block)
        for _ in range(6):
            killed_while_it_asks(path, folder, server, draw, "probe_responses")
        assert cli("curate", path)[0] == 0
        num_calls = len(server.calls())
        assert cli("curate", path)[0] == 0 and len(server.calls()) == num_calls
        calm, _ = probing(*words, server=server, folder="calm", probes=block)
        assert cli("curate", calm)[0] == 0
    assert published(tmp_path / "calm") == published(folder)


def test_a_changed_rule_asks_for_its_own_probes_only(probing, cli, teacher):
    path, _ = probing("good", "other")
    assert cli("curate", path)[0] == 0
    before = len(teacher.calls())
    path, _ = probing("good", "another")
    assert cli("curate", path)[0] == 0
    asked = [call["body"]["messages"][0]["content"] for call in teacher.calls()[before:]]
    assert len(asked) == 9 and not [text for text in asked if "Make good" in text or text.startswith("[good]")]


def test_what_is_published_is_trained_on_and_read_by_others(probing, cli, tiny_recipe):
    from pyarrow import parquet

    path, folder = probing("good", "misleads", "open_right")
    assert cli("curate", path)[0] == 0
    single = list(read_groups(folder / "data" / "probe_sft.jsonl"))
    assert [group.problem.metadata["rule"] for group in single] == ["good", "open_right"] * 3
    talks = [group.trajectories[0] for group in read_groups(folder / "data" / "probe_dialogues.jsonl")]
    assert [turn.role for turn in talks[0].messages] == ["user", "assistant"] * 3
    assert talks[0].messages[-2].content == QUESTIONS[0] and talks[0].context == "full"
    rows = parquet.read_table(folder / "data" / "probes").to_pylist()
    assert rows[0]["gold"] == "7" and [probe["consistent"] for probe in rows[0]["probes"]] == [True, False, True]
    card = (folder / "data" / "README.md").read_text()
    assert "| rule | asked | written | no leak | answered | consistent |" in card
    assert "| misleads | 3 | 3 | 3 | 3 | 0 |" in card and "| probe_consistency | misleads | inconsistent | 3 |" in card
    assert "probe_dialogues/*.parquet" in card


def carried(folder: Path, *texts: str) -> dict:
    """A chain of the micro-world that carries probes of its own, as a set of problems."""
    probes = [
        Probe(rule="after", text=text, answer_kind="closed", teacher_reply="\\boxed{8}", teacher_answer="8") for text in texts
    ]
    problem = {"id": "p", "prompt": "9 - 1 + 5 = ?", "answer": "13", "source": "arithmetic",
               "metadata": {"probes": probes_to_plain(probes)}}  # fmt: skip
    (folder / "carried.jsonl").write_text(json.dumps({"problem": problem, "trajectories": []}) + "\n")
    return {
        "problems": [{"name": "records", "path": str(folder / "carried.jsonl")}],
        "generate": {"teacher": {"name": "procedural"}, "num_samples": 4, "sampling": {"max_tokens": 99}},
    }


def test_probes_that_problems_carry_are_kept_and_only_filtered(probing, cli, tmp_path, tiny_recipe):
    changes = carried(tmp_path, "9 - 1 + 5 . after 1 ?", "8 + 5 = 13 . undo ?")
    assert cli("train", tiny_recipe(run_dir=str(tmp_path / "before")).path)[0] == 0
    untrained = {"name": "engine", "model": str(tmp_path / "before" / "final")}
    base = {"model": untrained, "sampling": {"max_tokens": 9}, "tau_hard": 0}
    block = {"teacher": {"name": "procedural"}, "consistency": None, "student": base}
    path, folder = probing("good", probes=block, **changes)
    code, _, err = cli("curate", path)
    assert (code, err) == (0, "")
    (group,) = read_groups(folder / "data" / "sft.jsonl")
    assert [(probe.text, probe.student_base_correct) for probe in probes_of(group.problem)] == [("9 - 1 + 5 . after 1 ?", False)]
    for name in ("probe_sft", "probe_dialogues"):
        problems = {"name": "records", "path": str(folder / "data" / f"{name}.jsonl")}
        imitated = taught("sft", source={"name": "dataset", "problems": problems, "groups_per_step": 1})
        recipe = tiny_recipe(imitated, run_dir=str(tmp_path / name))
        code, _, err = cli("train", recipe.path)
        assert (code, err) == (0, "")


PROCEDURAL = {"name": "procedural"}


@pytest.mark.parametrize(
    ("words", "block", "message"),
    [
        (["leaks"], {}, "curation.probe_leaks: left nothing of 3 problems (no_probe_left 3"),
        (["misleads"], {}, "misleads the teacher 1"),
        (["unparsable"], {}, "curation.probe_write: left nothing of 3 problems (no_probe_left 3"),
        (["strange"], {}, "wrong_language 1"),
        (["good"], {"use": ["god"]}, "probes.use: no rule has the id 'god'; choose from good"),
        (["good"], {"rules": "/nowhere.yaml"}, "probes.rules: there is no file '/nowhere.yaml'"),
        (["good"], {"teacher": PROCEDURAL, "consistency": None}, "probes.teacher: the procedural one writes no probes"),
        (["good", "good"], {}, "rules: have the id 'good' twice"),
    ],
)  # fmt: skip
def test_what_gives_no_probes_is_refused_in_one_line(words, block, message, probing, cli):
    path, _ = probing(*words, probes=block)
    code, _, err = cli("curate", path)
    assert code == 2 and message in err and err.count("\n") == 1


def test_the_procedural_teacher_cannot_be_misled_and_says_so(probing, cli, tmp_path):
    path, _ = probing("good", probes={"teacher": PROCEDURAL}, **carried(tmp_path, "9 - 1 + 5 . after 1 ?"))
    code, _, err = cli("curate", path)
    assert code == 2 and "probes.consistency: the procedural teacher reads nothing before a problem" in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": {"max_tokens": 4096}}, "probes.student.sampling.max_tokens: is 4096, which leaves no room"),
        ({"sampling": {"max_tokens": 9}, "rise": {"sampling": {"max_tokens": 4096}}}, "probes.student.rise.sampling.max_tokens"),
        ({"sampling": {"max_tokens": 9}, "rise": {"sampling": {"max_tokens": 9}}}, "probes.prompt.instruction: .*tokenised"),
    ],
)
def test_a_student_that_cannot_be_asked_is_refused_before_the_teacher_is_paid(
    changes, message, probing, cli, teacher, tmp_path, tiny_recipe
):
    assert cli("train", tiny_recipe(run_dir=str(tmp_path / "before")).path)[0] == 0
    student = {"model": {"name": "engine", "model": str(tmp_path / "before" / "final")}, **changes}
    path, _ = probing("good", probes={"student": student})
    before = len(teacher.calls())
    code, _, err = cli("curate", path)
    assert code == 2 and re.search(message, err) and err.count("\n") == 1
    assert len(teacher.calls()) == before


def test_what_would_be_asked_is_told_without_asking(probing, cli, teacher):
    path, _ = probing("good", "other")
    before = len(teacher.calls())
    _, out, _ = cli("curate", path, "--dry-run")
    assert "probes: at most 6 written, as many replies, 6 checks of consistency" in out and len(teacher.calls()) == before
    assert "probes: nothing is stored yet" in cli("curate", path, "--explain-cache")[1]
    assert cli("curate", path)[0] == 0
    assert "probes: stored as" in cli("curate", path, "--explain-cache")[1]
    assert "is no mapping" not in refused(cli("curate", path, "probes=null", "--dry-run"))
