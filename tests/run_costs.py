"""A run folder written by hand, whose costs can be worked out on paper."""

import json
from pathlib import Path
from typing import Any

import yaml
from tiny_runs import rolled_out, taught, tiny_student

from rl_distill.config import dump, parse
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.recipe import Recipe

ROWS = {"training/rows": 1, "training/tokens": 10, "training/squares": 100, "training/logits": 6}
DRAWN = {
    **{"sampling/prompts": 2, "sampling/prompt_tokens": 8, "sampling/prompt_squares": 32},
    **{"sampling/attempts": 4, "sampling/tokens": 20, "sampling/context": 120},
}


def result(
    step: int, *, drawn: int = 0, trained: int = 6, accuracy: float | None = 0.5, problem: str = "p", **work: int
) -> dict[str, Any]:
    """A stage's result of so many steps with `work` in all of them together."""
    low, high = (accuracy or 0.0) - 0.1, (accuracy or 0.0) + 0.1
    evaluation = {"accuracy": accuracy, "low": low, "high": high, "problem_accuracy": {problem: accuracy}}
    return {
        "step": step,
        "generated_tokens": drawn,
        "trained_tokens": trained,
        "seconds": 2.0 * step,
        "work": {"steps": step, **work} if work else {},
        "evaluation": None if accuracy is None else evaluation,
        "evaluations": {"count": 1, "seconds": 3.0, **DRAWN} if accuracy is not None else {},
        "alarms": [],
    }


def write_run(folder: Path, results: dict[str, Any], *, changes: dict[str, Any] | None = None) -> Path:
    """A run of stages sft, redi (which starts from sft) and grpo (which starts from base), with these results."""
    stages = [taught("sft"), taught("redi"), rolled_out("grpo", start="base")]
    plain = {"name": "tiny", "run_dir": str(folder), "student": tiny_student(), "stages": stages} | (changes or {})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(dump(parse(Recipe, plain)), sort_keys=False))
    model = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, num_key_value_heads=1, max_context=160)
    for name, found in results.items():
        stage = folder / "stages" / name
        stage.mkdir(parents=True)
        (stage / "result.json").write_text(json.dumps({"stage": name, **found}))
        save_pretrained(model.build(arithmetic_tokenizer()), arithmetic_tokenizer(), stage / "student")
    times = {"time/source": 0.5, "time/credit": 0.1, "time/train": 1.2, "time/sync": 0.2, "time/step": 2.0}
    lines = [
        {"stage": name, "step": step, **times, **({"time/generate": 0.3} if name == "grpo" else {})}
        for name, found in results.items()
        if name != "base"
        for step in range(found["step"])
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = [
        {"stage": name, "step": step, "problem": f"p{step}", "attempts": [attempt("teacher", 12), attempt("teacher", 10)]}
        for name in ("sft", "redi")
        for step in range(2)
    ]
    own = {"stage": "grpo", "step": 0, "problem": "p0", "attempts": [attempt("tiny", 9, seed=4)]}
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*read, own]))
    return folder


def attempt(model: str, tokens: int, seed: int | None = None) -> dict[str, Any]:
    return {"model": model, "seed": seed, "status": "correct", "reward": 1.0, "tokens": tokens}
