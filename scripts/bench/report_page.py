"""How large the page of `rl-distill report` is, and how long it takes: to write, and in a browser to open each tab.

    python scripts/bench/report_page.py [--runs 100] [--trajectories 10000] [--folder DIR]

The runs are made up: recipe, metrics, results, held-out answers and rollouts in the files that a run writes. Without a Chromium
on the PATH only size and writing are measured.
"""

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from turns import at_least_one, json_file, machine, write

from rl_distill import __version__
from rl_distill.config import dump
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.recipe import load_recipe
from rl_distill.reporting.run_report import report
from rl_distill.sealing import sealed

RECIPE = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
STEPS, METRICS, PROBLEMS, GROUP, RECORDED = 400, 40, 128, 8, 20
BROWSER = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
WORDS = ["so", "wait", "17", "+", "4", "=", "21", ";", "then", "let", "me", "check", "that", "again", "hence", "the", "answer"]


def make_run(folder: Path, seed: int) -> None:
    """A finished run of the quickstart's stages that nobody has trained."""
    chance = random.Random(seed)
    plain = dump(load_recipe(RECIPE, [f"seed={seed}", f"run_dir={folder}"]))
    stages = ["base", *(stage["name"] for stage in plain["stages"])]
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    (folder / "environment.json").write_text(json.dumps({"rl_distill": __version__, "cpu_count": 2}))
    (folder / "summary.json").write_text(json.dumps({"name": plain["name"], "seed": seed, "routes": [], "alarms": []}))
    (folder / "trajectories").mkdir()
    write_lines(folder / "metrics.jsonl", (row for place, name in enumerate(stages[1:]) for row in metrics(name, place, chance)))
    write_lines(folder / "trajectories" / "rollouts.jsonl", (rollout(place, chance) for place in range(RECORDED)))
    arithmetic_tokenizer().save_pretrained(folder / "final")
    for name in stages:
        make_stage(folder / "stages" / name, name, chance)


def make_stage(folder: Path, name: str, chance: random.Random) -> None:
    answers = [answer(place, chance) for place in range(PROBLEMS)]
    right = sum(one["verdict"] == "correct" for one in answers) / PROBLEMS
    evaluation = {"accuracy": right, "low": right - 0.05, "high": right + 0.05, "problem_accuracy": {}}
    alarms = [{"alarm": "collapse", "step": 5, "text": "logprob/chosen fell"}] if chance.random() < 0.1 else []
    tokens = {"generated_tokens": 40_000, "trained_tokens": 40_000, "seconds": 20.0}
    result = {"stage": name, "step": STEPS, **tokens, "evaluation": evaluation, "evaluations": {}, "alarms": alarms, "work": {}}
    with sealed(folder) as working:
        (working / "result.json").write_text(json.dumps(result))
        write_lines(working / "evaluation.jsonl", answers)


def metrics(stage: str, place: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    for step in range(STEPS):
        level = 1 - 1 / (1 + step / 50)
        named = {"reward/mean": level + chance.gauss(0, 0.1), "loss": -level, "time/step": 0.1, "run/step": place * STEPS + step}
        yield {"stage": stage, "step": step, **named, **{f"metric/{one}": chance.gauss(level, 0.1) for one in range(METRICS)}}


def answer(place: int, chance: random.Random) -> dict[str, Any]:
    words = chance.choices(WORDS, k=60)
    verdict = chance.choice(("correct", "wrong"))
    text = {"prompt": f"What is {place} + 4 ?", "answer": str(place + 4), "response": " ".join(words)}
    return {"problem": f"heldout-{place}", **text, "verdict": verdict, "finish_reason": "stop", "tokens": 60}


def rollout(place: int, chance: random.Random) -> dict[str, Any]:
    problem = {"id": f"train-{place}", "prompt": f"What is {place} + 9 ?", "answer": str(place + 9), "source": "made up"}
    group = {"problem": problem | {"metadata": {}}, "trajectories": [attempt(problem, chance) for _ in range(GROUP)]}
    return {"stage": "grpo", "step": place, **group, "advantages": [chance.gauss(0, 1) for _ in range(GROUP)]}


def attempt(problem: dict[str, Any], chance: random.Random, count: int = 200) -> dict[str, Any]:
    """Sampled tokens with their log-probs."""
    messages = [
        {"role": "user", "content": problem["prompt"]},
        {"role": "assistant", "content": " ".join(chance.choices(WORDS, k=count))},
    ]
    tokens = {"token_ids": chance.choices(range(15, 45), k=count), "sampled": [True] * count, "policy_versions": [0] * count}
    logprobs = {"behavior_logprobs": [-chance.expovariate(2) for _ in range(count)]}
    verdict = {"status": chance.choice(("correct", "wrong")), "method": "exact", "detail": ""}
    score = {"value": float(verdict["status"] == "correct"), "verdict": verdict, "parts": {}}
    return {
        "problem_id": problem["id"],
        "messages": messages,
        **tokens,
        **logprobs,
        "model": "m",
        "origin": "policy",
        "score": score,
    }


def write_lines(path: Path, rows: Any) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def browse(page: Path) -> dict[str, float]:
    """Seconds until the first tab and then each other one is there, in a browser on this machine."""
    chromium = next((found for name in BROWSER if (found := shutil.which(name))), None)
    if chromium is None:
        print("no Chromium on the PATH: nothing is opened")
        return {}
    from playwright.sync_api import sync_playwright

    seconds: dict[str, float] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(QUIET))
        tab = browser.new_page()
        tab.set_default_timeout(120_000)
        begin = time.perf_counter()
        tab.goto(page.resolve().as_uri())
        for place, name in enumerate(tab.eval_on_selector_all("#tabs button", "found => found.map(one => one.id.slice(4))")):
            begin = begin if place == 0 else time.perf_counter()
            tab.click(f"#tab-{name}")
            tab.wait_for_selector(f"#panel-{name}[data-ready]")
            tab.wait_for_function(f"[...document.querySelectorAll('#panel-{name} .plot')].every(one => one.dataset.drawn)")
            seconds[name] = time.perf_counter() - begin
            print(f"{name:<14}{seconds[name]:6.2f} s")
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=at_least_one, default=100)
    parser.add_argument("--trajectories", type=at_least_one, default=10_000)
    parser.add_argument("--folder", type=Path, help="keep page and runs there; none keeps nothing")
    parser.add_argument("--json", type=json_file, help="file to write")
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        runs = [folder / "runs" / f"seed{seed}" for seed in range(given.runs)]
        for seed, run in enumerate(runs):
            if not run.is_dir():
                make_run(run, seed)
        begin = time.perf_counter()
        found = report(runs, folder / "report.html", trajectories=given.trajectories)
        seconds = time.perf_counter() - begin
        print(f"{len(runs)} runs: {found.size / 1e6:.1f} MB, written in {seconds:.1f} s")
        print("\n".join(line for line in found.notes if "attempts" in line))
        shown = browse(found.path)
    write(given.json, {"machine": machine(1), "runs": len(runs), "bytes": found.size, "seconds": seconds, "shown": shown})


if __name__ == "__main__":
    main()
