"""What the data card tells of probes: how many each rule made, how many each filter left, what the base student could do."""

from collections.abc import Mapping, Sequence
from typing import Any

from rl_distill.curation.probe_filters import DIFFICULTY
from rl_distill.curation.probe_writing import WRITE

COUNTED = {
    "probe_write": "written",
    "probe_leaks": "no leak",
    "probe_answer": "answered",
    "probe_consistency": "consistent",
    "probe_rise": "no rise",
    "probe_difficulty": "kept",
}
BILLED = {"answers": "answers", "prompt_tokens": "prompt tokens", "completion_tokens": "answer tokens", "price": "price"}


def probe_data(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Plain data for the card, from the facts of the stages."""
    stages = [name for name in COUNTED if name in facts]
    asked = facts[WRITE]["asked"]
    rules = sorted({rule for name in stages for rule in [*facts[name]["probes"], *facts[name].get("lost", {})]} | set(asked))
    return {
        "by_rule": {
            rule: {"asked": asked.get(rule, 0)} | {COUNTED[name]: facts[name]["probes"].get(rule, 0) for name in stages}
            for rule in rules
        },
        "lost": {name: facts[name]["lost"] for name in stages if facts[name].get("lost")},
        "student_correct": facts[DIFFICULTY]["student_correct"] if DIFFICULTY in facts else {},
        "bills": {f"{name}, {who}": facts[name][who] for name in stages for who in ("teacher", "student") if who in facts[name]},
    }


def probe_tables(data: Mapping[str, Any]) -> list[tuple[str, Sequence[str], list[list[str]]]]:
    """(heading, header, rows) of each table of the card."""
    by_rule = data["by_rule"]
    columns = list(next(iter(by_rule.values()), {}))
    total = {column: sum(found[column] for found in by_rule.values()) for column in columns}
    retention = [[rule, *(str(found[column]) for column in columns)] for rule, found in [*by_rule.items(), ("all", total)]]
    lost = [
        [stage, rule, reason, str(times)]
        for stage, rules in data["lost"].items()
        for rule, reasons in rules.items()
        for reason, times in reasons.items()
    ]
    student = [
        [rule, *(str(found.get(status, 0)) for status in ("correct", "wrong", "unverifiable"))]
        for rule, found in data["student_correct"].items()
    ]
    bills = [[name, *(f"{found[key]:,.6g}" for key in BILLED)] for name, found in data["bills"].items() if found["answers"]]
    return [
        ("Probes in play after each stage", ["rule", *columns], retention),
        ("Probes that went", ["stage", "rule", "why", "count"], lost),
        ("What the base student answers", ["rule", "right", "wrong", "not checked"], student),
        ("Answers that were used", ["stage", *BILLED.values()], bills),
    ]
