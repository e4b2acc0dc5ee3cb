"""How many planted copies `Dedup` and `Decontaminate` find, by kind and rule, what else falls, and how long many problems take.

    RL_DISTILL_DATA=FOLDER python scripts/bench/decontamination.py [--problems 300] [--scale 100000] [--json FILE]

Copies are made of problems of the evaluation (`planted_copies.py`); a copy counts as found if it is left out for the problem that
it was made of. Precision is over all copies, all variants (questions with other numbers: no copies), and the real training sets.
What falls of those is counted as false; --json lists it for a person to judge. Without data eight written questions serve.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from random import Random
from typing import Any

from planted_copies import COPIES, VARIANTS, WRITTEN, planted
from turns import at_least_one, json_file

from rl_distill.curation.decontaminate import Decontaminate
from rl_distill.curation.dedup import Dedup
from rl_distill.curation.drop import Drop
from rl_distill.problems import Aime, Gsm8k, Math
from rl_distill.trajectory import Problem

Cleaner = Any  # problems -> (kept, drops)
RULES = ("ngram", "ratio", "skeleton")
BESIDE = ("all rules", "all, variants dropped")
EXAMPLES = 3  # that are printed of each set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=at_least_one, default=300, help="of each evaluation set, to make copies of")
    parser.add_argument("--scale", type=at_least_one, help="also time a pool of so many problems")
    parser.add_argument("--json", type=json_file, help="write all figures there")
    options = parser.parse_args()
    evaluation, training = sets() if "RL_DISTILL_DATA" in os.environ else ({"written": list(WRITTEN)}, {})
    asked = [problem for problems in evaluation.values() for problem in problems]
    pool = [problem for problems in training.values() for problem in problems]
    found: dict[str, Any] = {"recall": {}, "seconds": {}}
    for name, problems in evaluation.items():
        chosen = Random(0).sample(problems, min(options.problems, len(problems)))
        found["recall"][name] = recall(chosen, asked)
        print_recall(name, found["recall"][name])
    found["real"] = real(training, asked) if training else {}
    found["precision"] = precision(found["recall"], found["real"], len(pool))
    if options.scale:
        found["seconds"] = seconds(enlarged(pool or list(WRITTEN), options.scale), asked)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def sets() -> tuple[dict[str, list[Problem]], dict[str, list[Problem]]]:
    """The evaluation, and real training problems, by set."""

    def problems(*chosen: Any) -> list[Problem]:
        return [group.problem for each in chosen for group in each.groups()]

    evaluation = {
        "GSM8K test": problems(Gsm8k(split="test")),
        "MATH-500": problems(Math(split="test")),
        "AIME 2024": problems(Aime()),
    }
    training = {
        "GSM8K train": problems(Gsm8k()),
        "MATH train": problems(Math()),
        "AIME 1983-2023": problems(Aime(years="1983-2023")),
    }
    return evaluation, training


def cleaners(asked: Sequence[Problem]) -> dict[str, Cleaner]:
    """Each rule by itself, all of them, all without mercy for variants, and Dedup on evaluation and copies together."""
    by_rule = {rule: Decontaminate(rules=(rule,)) for rule in RULES}
    every = by_rule | {"all rules": Decontaminate(), "all, variants dropped": Decontaminate(variants="drop")}
    dedup = Dedup(sources=tuple(dict.fromkeys(problem.source for problem in asked)))
    return {name: lambda copies, each=each: each.apply(copies, asked) for name, each in every.items()} | {
        "dedup": lambda copies: dedup.apply([*asked, *copies])
    }


def recall(problems: Sequence[Problem], asked: Sequence[Problem]) -> dict[str, dict[str, Any]]:
    """For each kind: how many copies there are, and how many each cleaner finds."""
    table: dict[str, dict[str, Any]] = {}
    for kind in (*COPIES, *VARIANTS):
        pairs = list(planted(problems, kind))
        original = {copy.id: problem.id for problem, copy in pairs}
        table[kind] = {"copies": len(pairs)}
        for name, clean in cleaners(asked).items():
            drops: list[Drop] = clean([copy for _, copy in pairs])[1] if pairs else []
            table[kind][name] = sum(original.get(drop.problem_id) == drop.match for drop in drops)
    return table


def print_recall(name: str, table: dict[str, dict[str, Any]]) -> None:
    columns = list(next(iter(table.values())))
    print(f"\n{name}\n| kind | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}")
    for kind, row in table.items():
        shares = [f"{row[column] / max(1, row['copies']):.1%}" for column in columns[1:]]
        print(f"| {kind} | {row['copies']} | {' | '.join(shares)} |")


def real(training: dict[str, list[Problem]], asked: Sequence[Problem]) -> dict[str, dict[str, Any]]:
    """What falls of each real training set, by cleaner; prints how much, and the first that fall by all rules."""
    prompts = {problem.id: problem.prompt for problems in (asked, *training.values()) for problem in problems}
    columns = (*RULES, *BESIDE)
    print(f"\n| training set | problems | {' | '.join(columns)} |\n|---|--:|{'--:|' * len(columns)}")
    table: dict[str, dict[str, Any]] = {}
    for name, problems in training.items():
        table[name] = {
            column: [
                {"rule": drop.reason, "detail": drop.detail, "problem": prompts[drop.problem_id], "match": prompts[drop.match]}
                for drop in cleaners(asked)[column](problems)[1]
            ]
            for column in columns
        }
        print(f"| {name} | {len(problems)} | {' | '.join(str(len(table[name][column])) for column in columns)} |")
    for name, fallen in table.items():
        for drop in fallen["all rules"][:EXAMPLES]:
            print(f"{name}, {drop['rule']} ({drop['detail']}):\n  {drop['problem'][:150]!r}\n  {drop['match'][:150]!r}")
    return table


def precision(recalled: dict[str, Any], fallen: dict[str, Any], pool_size: int) -> dict[str, Any]:
    """Found copies, variants and real training problems that fall, for each cleaner that compares with an evaluation."""
    table: dict[str, Any] = {}
    print("\n| rule | copies found | variants that fall | real problems that fall | precision |\n|---|--:|--:|--:|--:|")
    for name in (*RULES, *BESIDE):
        copies = sum(row[name] for each in recalled.values() for kind, row in each.items() if kind in COPIES)
        variants = sum(row[name] for each in recalled.values() for kind, row in each.items() if kind in VARIANTS)
        drops = sum(len(by_cleaner[name]) for by_cleaner in fallen.values())
        share = copies / (copies + variants + drops)
        table[name] = {"copies": copies, "variants": variants, "real": drops, "precision": share}
        print(f"| {name} | {copies} | {variants} | {drops} of {pool_size} | {share:.1%} |")
    return table


def enlarged(pool: Sequence[Problem], size: int) -> list[Problem]:
    """The pool with variants of its problems, and copies with typos in every fifth round, up to the size."""
    problems, seed = list(pool), 0
    while len(problems) < size:
        kind = "all_numbers" if seed % 5 else "typos"
        problems += [
            Problem(id=f"{copy.id}-{seed}", prompt=copy.prompt, answer=copy.answer, source="planted")
            for _, copy in planted(pool, kind, seed)
        ]
        seed += 1
    return problems[:size]


def seconds(problems: Sequence[Problem], asked: Sequence[Problem]) -> dict[str, Any]:
    """Seconds of the core for both stages."""
    table: dict[str, Any] = {"problems": len(problems), "evaluation": len(asked)}
    for name, clean in (("dedup", Dedup().apply), ("decontaminate", cleaners(asked)["all rules"])):
        start = time.process_time()
        kept, _ = clean(problems)
        table[name] = {"seconds": time.process_time() - start, "kept": len(kept)}
    print(f"\n{json.dumps(table)}")
    return table


if __name__ == "__main__":
    main()
