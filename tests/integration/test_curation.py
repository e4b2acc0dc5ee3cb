"""One command from problems to published pairs: each stage made once, nothing lost, what comes out is trained on."""

import json
import os
import random
from pathlib import Path

import pytest
import yaml
from chat_server import chat_server
from curation_kills import killed_while_it_asks
from refusals import refused
from tiny_runs import taught

from rl_distill.curation.folder_lock import locked
from rl_distill.curation.stage_folder import StageFolder
from rl_distill.problems.base import dialogue
from rl_distill.records import group_to_dict
from rl_distill.trajectory import Group, Problem, Trajectory

PROCEDURAL = {"teacher": {"name": "procedural"}, "num_samples": 3, "sampling": {"max_tokens": 200}}


@pytest.fixture
def curation(tmp_path):
    """Writes a recipe; (its path, its folder)."""

    def write(**changes):
        tree = {
            "name": "tiny",
            "folder": str(tmp_path / "curated"),
            "problems": [{"name": "arithmetic", "num_problems": 24, "levels": [1, 2]}],
            "generate": PROCEDURAL,
        }
        path = tmp_path / "curation.yaml"
        path.write_text(yaml.safe_dump(tree | changes))
        return path, tmp_path / "curated"

    return write


def published(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "data").rglob("*")) if path.is_file()}


def stage(folder: Path, name: str) -> StageFolder:
    return StageFolder(folder / "stages" / name)


def test_pairs_of_the_micro_world_train_redi(curation, cli, tiny_recipe):
    path, folder = curation()
    code, out, err = cli("curate", path)
    assert (code, err) == (0, "") and f"published: {folder / 'data'}" in out
    pairs = {"name": "records", "path": str(folder / "data" / "pairs.jsonl")}
    redi = taught("redi", source={"name": "dataset", "problems": pairs, "groups_per_step": 2})
    assert cli("train", tiny_recipe(redi).path)[0] == 0


def test_rows_in_the_columns_of_trl_are_read_back(curation, cli):
    from datasets import load_dataset

    path, folder = curation()
    assert cli("curate", path)[0] == 0
    rows = load_dataset(str(folder / "data"), "pairs", split="train", cache_dir=str(folder / "cache"))
    assert set(rows.column_names) == {"id", "prompt", "chosen", "rejected"}
    assert [turn["role"] for turn in rows[0]["prompt"] + rows[0]["chosen"]] == ["user", "assistant"]


def test_every_row_is_accounted_for(curation, cli):
    path, folder = curation(
        select=[{"name": "difficulty", "key": "level", "high": 1}, {"name": "answer_leak", "min_words": 2}, {"name": "pass_rate"}]
    )
    assert cli("curate", path)[0] == 0
    before = None
    for name in ("ingest", "normalise", "dedup", "generate", "extract", "verify", "select", "pair"):
        found = stage(folder, name)
        kept = [group.problem.id for group in found.groups()]
        gone = [drop.problem_id for drop in found.drops() if drop.attempt is None]
        assert before is None or sorted(kept + gone) == sorted(before)
        before = kept
    card = (folder / "data" / "README.md").read_text()
    assert "too_easy" in card and "| verify | arithmetic |" in card and "\n\n\n" not in card
    assert "| select | arithmetic | problem: high_difficulty | 12 |" in card
    assert "| generate | arithmetic | 24 | 72 |  |  |  |" in card, "nobody has looked at them yet"


def test_a_repeated_command_does_nothing_and_publishes_the_same_bytes(curation, cli):
    path, folder = curation()
    assert cli("curate", path)[0] == 0
    first = published(folder)
    made = {found: found.stat().st_mtime_ns for found in (folder / "stages").iterdir()}
    _, out, _ = cli("curate", path)
    assert out.count("(kept)") == len(made) == 8
    assert published(folder) == first and {found: found.stat().st_mtime_ns for found in made} == made


def test_a_changed_key_does_again_what_depends_on_it_only(curation, cli):
    path, folder = curation()
    assert cli("curate", path)[0] == 0
    _, out, _ = cli("curate", path, "pairs.rule=length_matched")
    assert [line.partition(":")[0] for line in out.splitlines() if "(kept)" not in line] == ["pair", "published"]
    _, out, _ = cli("curate", path, "generate.num_samples=4")
    changed = [line.partition(":")[0] for line in out.splitlines() if "(kept)" not in line]
    assert "generate" in changed and "pair" in changed and "dedup" not in changed
    assert "72 of 96 rows are stored already" in out, "what was asked before is not asked again"


def test_a_stage_that_the_recipe_no_longer_has_leaves_no_folder_and_one_that_it_gets_renames_none(curation, cli):
    path, folder = curation(decontaminate={"against": [{"name": "arithmetic", "split": "heldout", "num_problems": 24}]})
    assert cli("curate", path)[0] == 0
    (folder / "stages" / "mine").mkdir()
    everything = {found.name for found in (folder / "stages").iterdir()}
    _, out, _ = cli("curate", path, "decontaminate=null", "pairs=null")
    assert everything - {found.name for found in (folder / "stages").iterdir()} == {"decontaminate", "pair"}
    assert "decontaminate: removed, the recipe has no such stage any more" in out and (folder / "stages" / "mine").is_dir()
    assert cli("curate", path)[0] == 0
    assert {found.name for found in (folder / "stages").iterdir()} == everything


def test_a_damaged_stage_is_made_again(curation, cli):
    path, folder = curation()
    assert cli("curate", path)[0] == 0
    first = published(folder)
    rows = stage(folder, "verify").path / "rows.jsonl"
    rows.write_bytes(rows.read_bytes()[:-20])
    _, out, _ = cli("curate", path)
    assert [line.partition(":")[0] for line in out.splitlines() if "(kept)" not in line] == ["verify", "published"]
    assert published(folder) == first


def asked_of(server, **changes):
    teacher = {"name": "openai", "model": "tiny", "endpoints": [{"base_url": server.base_url, "concurrency": 4}]}
    return {"teacher": teacher, "num_samples": 3, "sampling": {"max_tokens": 200}, **changes}


def test_a_tokenizer_that_is_not_there_is_said_before_anybody_is_asked(curation, cli, tmp_path):
    with chat_server() as server:
        sampling = {"max_tokens": 200, "logprobs": True, "top_logprobs": 2}
        columns = {"tokenizer": str(tmp_path / "none")}
        path, _ = curation(generate=asked_of(server, sampling=sampling, teacher_columns=columns))
        for option in ((), ("--dry-run",)):
            code, _, err = cli("curate", path, *option)
            assert code == 2 and "generate.teacher_columns.tokenizer: there is no folder" in err
        assert server.calls() == []


def test_killed_ten_times_it_asks_for_no_stored_answer_again_and_publishes_the_same_bytes(curation, cli, tmp_path):
    draw = random.Random(0)
    with chat_server(seconds=0.1) as server:
        path, folder = curation(generate=asked_of(server))
        for _ in range(10):
            killed_while_it_asks(path, folder, server, draw)
        code, _, err = cli("curate", path)
        assert (code, err) == (0, "")
        calm, _ = curation(generate=asked_of(server), folder=str(tmp_path / "calm"))
        assert cli("curate", calm)[0] == 0
    assert published(tmp_path / "calm") == published(folder)


def test_what_a_killed_process_left_half_written_is_removed(curation, cli):
    path, folder = curation()
    assert cli("curate", path)[0] == 0
    first = published(folder)
    (folder / "stages" / ".03-dedup.4194305.tmp").mkdir()
    (folder / "data").rename(folder / ".data.4194305.old")  # it died after moving the old one aside
    assert cli("curate", path)[0] == 0
    assert published(folder) == first
    assert not [found for found in (*folder.glob(".*"), *(folder / "stages").glob(".*")) if found.is_dir()]


def test_two_processes_do_not_work_in_one_folder(curation, cli):
    path, folder = curation()
    with locked(folder, "folder"):
        assert f"is being written by process {os.getpid()}" in refused(cli("curate", path))
    assert cli("curate", path)[0] == 0


def test_attempts_that_a_teacher_replaces_are_not_counted_before_it_is_asked(curation, cli):
    taught_already = {"name": "arithmetic", "num_problems": 24, "levels": [1, 2], "attempts": "teacher"}
    path, folder = curation(problems=[taught_already])
    assert cli("curate", path)[0] == 0
    assert stage(folder, "ingest").facts()["counts"]["arithmetic"] == {"problems": 24, "attempts": 0}
    assert stage(folder, "generate").facts()["counts"]["arithmetic"]["attempts"] == 72


def test_a_judge_is_asked_once_about_what_rules_could_not_settle(curation, cli, tmp_path):
    right, wrong = {"text": "right, about two", "correct": True}, {"text": "no idea", "correct": False}
    rows = [
        {"question": "How far?", "gold": "2", "samples": [right, right]},
        {"question": "How long?", "gold": "4", "samples": [wrong, {"text": "it is \\boxed{4}", "correct": True}]},
    ]
    (tmp_path / "graded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with chat_server() as server:
        model = asked_of(server)["teacher"]
        path, folder = curation(
            problems=[{"name": "graded_samples", "path": str(tmp_path / "graded.jsonl")}],
            generate=None,
            verification={"judge": {"model": model}},
        )
        for _ in range(2):
            assert cli("curate", path)[0] == 0
            assert len(server.calls()) == 2, "attempts with the same words are one question; \\boxed{4} is none"
    found = stage(folder, "verify")
    verdicts = [attempt.score.verdict for group in found.groups() for attempt in group.trajectories]
    assert [(verdict.status, verdict.method) for verdict in verdicts] == [
        ("correct", "judge"),
        ("correct", "judge"),
        ("wrong", "judge"),
        ("correct", "exact"),
    ]
    assert found.facts()["judge"] == {"asked": 3, "overruled": 2}
    assert found.facts()["recorded"]["agreement"] == 1.0


def test_what_would_be_asked_is_told_without_asking(curation, cli):
    with chat_server() as server:
        path, _ = curation(generate=asked_of(server, limits={"prices": {"output_per_million": 2.0}}))
        code, out, _ = cli("curate", path, "--dry-run")
        assert code == 0 and "72 rows" in out and server.calls() == []
        assert "nothing is stored yet" in cli("curate", path, "--explain-cache")[1]
        assert cli("curate", path)[0] == 0
        out = cli("curate", path, "--explain-cache")[1]
        assert "stored as" in out and "72 of 72 rows have an answer" in out
        assert "72 of 96 rows" in cli("curate", path, "generate.num_samples=4", "--explain-cache")[1]
        out = cli("curate", path, "generate.sampling.temperature=0.5", "--explain-cache")[1]
        assert "sampling.temperature was 1.0 and is 0.5" in out


def test_what_no_file_can_be_written_with_is_left_out_and_said(curation, cli, tmp_path):
    groups = [
        Group(
            problem=Problem(id=f"p{number}", prompt=prompt, answer="4", source="s"),
            trajectories=tuple(
                Trajectory(
                    problem_id=f"p{number}", messages=dialogue(prompt, f"\\boxed{{4}} {word}"), model="m", origin="teacher"
                )
                for word in ("so", "half \ud83d")
            ),
        )
        for number, prompt in enumerate(["How much is 2 + 2?", "Half \udfff of eight?"])
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(group_to_dict(group)) + "\n" for group in groups))
    path, folder = curation(problems=[{"name": "records", "path": str(tmp_path / "rows.jsonl")}], generate=None)
    assert cli("curate", path)[0] == 0
    (problem,), (attempt,) = (stage(folder, name).drops() for name in ("normalise", "extract"))
    assert (problem.problem_id, problem.reason) == ("p1", "half_character")
    assert (attempt.problem_id, attempt.attempt, attempt.reason) == ("p0", 1, "half_character")


NO_ANSWER = {"name": "jsonl", "answer_column": None, "id_column": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problems": [{"name": "arithmetic", "num_problems": 24, "split": "heldout"}],
          "decontaminate": {"against": [{"name": "arithmetic", "num_problems": 24, "split": "heldout"}]}},
         "curation.decontaminate: left nothing of"),
        ({"cleaning": {"exclude": ["\\d"]}}, "curation.normalise: left nothing of 24 problems (excluded 24"),
        ({"cleaning": {"exclude": ["("]}}, "cleaning.exclude: '(' is no regular expression"),
        ({"generate": {**PROCEDURAL, "prompt": {"system": "Think."}}}, "teacher: the procedural one reads neither"),
        ({"generate": {**PROCEDURAL, "limits": {"budget": {"max_price": 1.0}}}}, "budget.max_price: has no effect"),
        ({"generate": {**PROCEDURAL, "temperature": 1}}, "generate.temperature"),
        ({"generate": {**PROCEDURAL, "sampling": {"max_tokens": 200, "seed": 1}}}, "generate.sampling.seed"),
        ({"generate": None}, "no attempt is right and ended by itself"),
    ],
)  # fmt: skip
def test_what_cannot_be_curated_is_refused_in_one_line(changes, message, curation, cli):
    path, _ = curation(**changes)
    code, _, err = cli("curate", path)
    assert code == 2 and message in err and err.count("\n") == 1


def test_the_teachers_failures_end_it_with_what_is_saved_and_the_way_on(curation, cli):
    with chat_server(model="another") as server:
        path, _ = curation(generate=asked_of(server))
        code, _, err = cli("curate", path)
    assert code == 1 and "the answer is of model 'another' and not of 'tiny'" in err and err.count("\n") == 1
    assert "repeat the command to go on" in err


def test_options_that_need_a_teacher_say_so(curation, cli):
    path, _ = curation(generate=None)
    assert "nobody is asked" in refused(cli("curate", path, "--dry-run"))
