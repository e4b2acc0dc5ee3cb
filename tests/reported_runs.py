"""Run folders written by hand, for reports: held-out answers, rollouts, alarms and whatever else a test wants in them."""

import json
import shutil
from pathlib import Path
from typing import Any

from run_costs import result, write_run

from rl_distill import __version__
from rl_distill.sealing import sealed

EVALUATION = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 2, "levels": [1]},
    "sampling": {"max_tokens": 12},
    "num_samples": 1,
}
HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\"> <b>19</b>"


def reported_run(folder: Path, *, seed: int = 0, prompt: str = "what is {} ?", finished: bool = True) -> Path:
    """A run of base, sft, redi and grpo that measured each on two problems, and recorded two groups of rollouts."""
    results = {name: result(4 if name == "grpo" else 2) for name in ("base", "sft", "redi", "grpo")}
    results["grpo"]["alarms"] = [{"alarm": "flat_reward", "step": 1, "text": "all rewards were the same"}]
    write_run(folder, results, changes={"seed": seed, "evaluation": EVALUATION})
    for place, stage in enumerate(results):
        rows = [answer(f"p{one}", prompt.format(one), right=(place + one) % 2 == 0) for one in range(2)]
        done = folder / "stages" / stage
        write_lines(done / "evaluation.jsonl", rows)
        with sealed(done) as working:
            shutil.copytree(done, working, dirs_exist_ok=True)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for place, line in enumerate(lines):
        line |= {"run/step": place, "loss": 1 / (1 + place), "reward/mean": place / 10}
        if line["stage"] == "grpo" and line["step"] in (1, 2):
            line["alarm/flat_reward"] = 1.0
    write_lines(folder / "metrics.jsonl", lines)
    (folder / "trajectories").mkdir()
    write_lines(folder / "trajectories" / "rollouts.jsonl", [rollout(step) for step in (0, 2)])
    (folder / "environment.json").write_text(json.dumps({"rl_distill": __version__, "python": "3.11"}))
    if finished:
        (folder / "summary.json").write_text(json.dumps({"name": "tiny", "seed": seed, "routes": [], "alarms": []}))
    return folder


def answer(problem: str, prompt: str, *, right: bool) -> dict[str, Any]:
    text = {"prompt": prompt, "answer": "19", "response": f"wait {HOSTILE}" if right else "maybe 18"}
    return {"problem": problem, **text, "verdict": "correct" if right else "wrong", "finish_reason": "stop", "tokens": 4}


def rollout(step: int) -> dict[str, Any]:
    """A group of two attempts, the first right; their tokens were sampled with the first weights."""
    problem = {"id": f"t{step}", "prompt": "8 + 9 + 2 = ?", "answer": "19", "source": "arithmetic", "metadata": {}}
    attempts = [attempt(problem, status) for status in ("correct", "wrong")]
    return {"stage": "grpo", "step": step, "problem": problem, "trajectories": attempts, "advantages": [1.0, -1.0]}


def attempt(problem: dict[str, Any], status: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": problem["prompt"]}, {"role": "assistant", "content": "19"}]
    tokens = {"token_ids": [1, 3, 36, 19, 2], "sampled": [False, False, True, True, True], "policy_versions": [0] * 5}
    score = {"value": float(status == "correct"), "verdict": {"status": status, "method": "exact", "detail": ""}, "parts": {}}
    logprobs = {"behavior_logprobs": [0.0, 0.0, -0.5, -1.25, -2.0]}
    return {
        "problem_id": problem["id"],
        "messages": messages,
        **tokens,
        **logprobs,
        "model": "m",
        "origin": "policy",
        "score": score,
    }


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_evaluation(folder: Path, student: Path) -> None:
    """What `rl-distill evaluate` leaves of a benchmark with one problem."""
    found = {key: 1 for key in ("version", "num_samples", "num_problems", "unverifiable", "mean_tokens", "truncated_fraction")}
    found |= {
        "prompt": {},
        "grader": {},
        "sampling": {},
        "problems_hash": "x",
        "accuracy": {"mean": 0.5, "low": 0.4, "high": 0.6},
    }
    found |= {"pass_at": {"1": 0.5, "2": 0.7}, "majority_at": {"1": 0.5, "2": 0.5}}
    folder.mkdir(parents=True)
    result = {"model": {"folder": str(student)}, "benchmarks": {"aime24": found}}
    (folder / "evaluation.json").write_text(json.dumps(result))


def write_gradients(run: Path) -> None:
    """What `rl-distill gradients` leaves of two algorithms."""
    part = {"division": "credit", "name": "imitated", "norm": 0.2, "share": 1.0}
    algorithms = {name: {"num_samples": 2, "num_tokens": 9, "norm": 0.2, "parts": [part]} for name in ("sft", "grpo")}
    cosines = {one: {other: 1.0 if one == other else 0.4 for other in algorithms} for one in algorithms}
    plain = {"student": "final", "algorithms": algorithms, "cosines": cosines, "left_out": {"opd": "needs a teacher"}}
    (run / "gradients").mkdir()
    (run / "gradients" / "gradients.json").write_text(json.dumps(plain))
