"""`rl-distill doctor` says in one line each what works, what is well to know and what will not work, and why."""

import re
import sys
from pathlib import Path

import pytest
import torch
from fake_distribution import fake_distribution
from isolation import why_not
from large_student import large_student
from ray_node import free_port, ray_node
from refusals import refused
from tiny_runs import rolled_out, start_cli, taught

from rl_distill.doctor.cluster_checks import CLUSTER_CHECKS
from rl_distill.doctor.findings import Check, Tally, examine, ok
from rl_distill.doctor.machine_checks import MACHINE_CHECKS
from rl_distill.doctor.recipe_checks import ON_RAY, RECIPE_CHECKS
from rl_distill.doctor.subject import Subject

LINE = re.compile(r"(ok  |note|fail) ([a-z_]+): (.+)")
COUNTS = re.compile(r"\d+ ok, \d+ notes, \d+ failed(; left out: [a-z_, ]+)?")


class Report(dict[str, list[tuple[str, str]]]):
    """Name of a check -> what it found: (status, text)."""

    def __init__(self, out: str) -> None:
        *lines, self.counts = out.splitlines()
        assert COUNTS.fullmatch(self.counts), self.counts
        for line in lines:
            found = LINE.fullmatch(line)
            assert found is not None, line
            self.setdefault(found[2], []).append((found[1].strip(), found[3]))

    def one(self, name: str) -> tuple[str, str]:
        (finding,) = self[name]
        return finding

    @property
    def failed(self) -> set[str]:
        return {name for name, findings in self.items() if any(status == "fail" for status, _ in findings)}


@pytest.fixture
def doctor(cli, monkeypatch):
    """Calls `doctor --quick` in this process: the report of an exit code that agrees with it."""
    monkeypatch.setenv("WANDB_MODE", "offline")

    def call(*arguments) -> Report:
        code, out, err = cli("doctor", "--quick", *arguments)
        assert err == ""
        report = Report(out)
        assert code == (1 if report.failed else 0)
        return report

    return call


def names(checks) -> set[str]:
    return {check.name for check in checks}


def test_a_quick_look_at_a_sound_machine_makes_every_check_that_starts_nothing(doctor):
    report = doctor()
    assert report.failed == set()
    assert report.keys() == names(MACHINE_CHECKS)
    assert report.counts.endswith("; left out: ray, deepspeed")
    assert report.one("grader")[0] == "ok" and report.one("torch")[0] == "ok"
    assert (report.one("sandbox")[0] == "ok") == (not why_not())
    assert "transformers 5." in report["packages"][0][1]


def test_a_local_recipe_is_looked_at_too_and_nothing_is_left_of_it(doctor, tiny_recipe):
    recipe = tiny_recipe(rolled_out())
    report = doctor(recipe.path)
    assert report.failed == set() and report.keys() == names((*MACHINE_CHECKS, *RECIPE_CHECKS))
    assert report.one("recipe") == ("ok", "tiny: grpo; cluster local")
    assert report.one("student")[1].startswith("LlamaForCausalLM with ")
    assert not recipe.run_dir.exists()


def test_a_thorough_look_runs_ray_and_deepspeed_and_asks_the_cluster_of_the_recipe(tiny_recipe, tmp_path):
    student = {"name": "ray", "scorer": {"workers": 3}, "engine": {"workers": 2, "cpus": 0.5}, "learner": {"cpus": 0.5}}
    recipe = tiny_recipe(rolled_out(), taught(), cluster=student)
    with ray_node() as head:
        process = start_cli("doctor", recipe.path, f"cluster.address={head}", "cluster.placement=spread", WANDB_MODE="offline")
        out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), out
    report = Report(out)
    assert report.failed == set() and report.keys() == names((*MACHINE_CHECKS, *CLUSTER_CHECKS, *ON_RAY))
    assert f"joined {head} in " in report.one("ray")[1] and "took a step of ZeRO 1" in report.one("deepspeed")[1]
    assert report.one("devices") == ("ok", "GPUs: learner 1 x 0, engine 2 x 0; CPUs: learner 1 x 0.5, engine 2 x 0.5")
    assert report.one("hosts")[1].startswith("1 (") and "deepspeed 0." in report.one("hosts")[1]
    assert report.one("object_store")[1].startswith("95.4 MiB, and a version of the weights is ")
    status, text = report.one("workers")
    assert status == "note" and "the 6 attempts of a step make fewer shards (1) than there are engine workers (2)" in text
    assert "set engine.shard_size to 3" in text
    assert {text.partition(":")[0] for _, text in report["keys"]} == {"cluster.placement", "cluster.scorer"}
    assert not recipe.run_dir.exists()


def test_an_address_that_does_not_answer_fails_and_what_needs_it_is_left_out(tiny_recipe, cli, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe = tiny_recipe(rolled_out())
    code, out, err = cli("doctor", recipe.path, "cluster.name=ray", f"cluster.address=127.0.0.1:{free_port()}")
    report = Report(out)
    assert (code, err, report.failed) == (1, "", {"ray"})
    assert report.one("ray")[1].startswith("cluster.address: '127.0.0.1:")
    assert report.counts.endswith("; left out: deepspeed, hosts, devices, memory, object_store, keys")
    assert report.one("engine")[0] == "ok"


def test_missing_cluster_libraries_are_a_note_until_a_recipe_needs_them(cli, tiny_recipe, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    code, out, _ = cli("doctor")
    assert (code, Report(out).one("ray")) == (
        0,
        ("note", "cluster.name=ray does not work: deepspeed is not installed; run pip install 'rl_distill[cluster]'"),
    )
    code, out, _ = cli("doctor", tiny_recipe().path, "cluster.name=ray")
    assert (code, Report(out).failed) == (1, {"ray"})


def test_a_package_outside_its_range_fails_and_a_missing_extra_is_noted(doctor, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_distribution(tmp_path / "old", "omegaconf", "2.1.0"))
    status, text = doctor()["packages"][0]
    assert (status, text) == ("fail", "omegaconf 2.1.0 (wanted: omegaconf>=2.4); run pip install -e . again")


def test_a_vllm_that_does_not_fit_torch_fails(doctor, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_distribution(tmp_path / "other", "vllm", "0.40.0", "torch==1.2.0", module="vllm"))
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    status, text = doctor().one("vllm")
    assert status == "fail" and text.startswith("vllm 0.40.0 needs torch ==1.2.0 and torch 2.")


def test_folders_that_cannot_be_written_fail(doctor, tiny_recipe, monkeypatch):
    monkeypatch.setenv("RL_DISTILL_CACHE", "/proc/no_cache_here")
    report = doctor(tiny_recipe().path, "run_dir=/proc/no_run_here")
    assert report.failed == {"disk", "run_folder"}
    assert report.one("run_folder")[1].startswith("'/proc/no_run_here' cannot be written (")
    assert report.one("run_folder")[1].endswith("; choose another with run_dir=PATH")


def test_a_student_that_is_not_there_fails_once_and_what_needs_it_is_left_out(doctor, tiny_recipe, tmp_path):
    report = doctor(tiny_recipe(student={"model": str(tmp_path / "nowhere")}).path)
    assert report.failed == {"student"}
    assert report.one("student")[1].startswith("student.model: there is no folder ")
    assert report.counts.endswith("; left out: ray, deepspeed, engine, devices, memory")


def test_a_student_that_cannot_fit_fails_with_the_numbers(doctor, tiny_recipe, tmp_path):
    report = doctor(tiny_recipe(student={"model": large_student(tmp_path / "large")}).path)
    assert report.failed == {"memory"}
    assert "GiB of host memory with what samples and scores (" in report.one("memory")[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_fails(doctor, tiny_recipe):
    report = doctor(tiny_recipe().path, "stages.sft.learner.device=cuda")
    assert report.one("devices")[0] == "fail"
    assert report.one("devices")[1].startswith("stages.sft.learner.device: is 'cuda', and torch finds no GPU here")


def test_wandb_without_a_key_fails_only_for_a_recipe_that_sends_there(doctor, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert doctor().one("wandb")[0] == "note"
    sends = tiny_recipe(tracking={"console": "quiet", "wandb": {"project": "p"}})
    status, text = doctor(sends.path).one("wandb")
    assert status == "fail" and "has no key for https://api.wandb.ai; run `wandb login`" in text
    assert doctor(sends.path, "tracking.wandb.mode=offline").one("wandb")[0] == "ok"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert doctor(sends.path).one("wandb")[0] == "ok"


def test_a_hub_that_does_not_answer_is_noted():
    process = start_cli(
        "doctor", "--quick", HF_HUB_OFFLINE="0", HF_ENDPOINT=f"http://127.0.0.1:{free_port()}", WANDB_MODE="offline"
    )
    out, _ = process.communicate(timeout=120)
    status, text = Report(out).one("hub")
    assert status == "note" and " does not answer (" in text and text.endswith("check the proxy, or set HF_ENDPOINT")


def test_a_check_that_breaks_is_one_line_and_the_others_go_on():
    def broken(subject: Subject):
        raise ZeroDivisionError("first\nsecond")

    tally = Tally()
    checks = (Check(name="one", look=broken), Check(name="two", look=lambda subject: ok("fine")))
    assert list(examine(checks, Subject(), tally)) == [
        "fail one: the check broke off with ZeroDivisionError (first second); mend that, and look again",
        "ok   two: fine",
    ]
    assert (tally.ok, tally.note, tally.fail) == (1, 0, 1)


def test_a_recipe_with_a_wrong_key_is_refused_as_by_train(cli, tiny_recipe, tmp_path: Path):
    assert refused(cli("doctor", tiny_recipe().path, "sed=1")) == "sed: is not a known key; did you mean 'seed'?"
    assert refused(cli("doctor", tmp_path / "no.yaml")).startswith("recipe: there is no file ")
