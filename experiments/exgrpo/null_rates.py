"""How often a bonus would be paid if dialogues made no difference: verdicts permuted between the contexts of each recorded group.

run: python experiments/exgrpo/null_rates.py runs/grid-rules-0 runs/grid-rules-1 runs/grid-rules-2
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean

from rl_distill.coherence import COMPARED, Account, Measure, accounts
from rl_distill.markdown_table import markdown
from rl_distill.records import group_from_dict
from rl_distill.trajectory import Group

NU = 1.25  # of exgrpo's recipes here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that recorded dialogues")
    parser.add_argument("--permutations", type=int, default=200, help="of each group")
    options = parser.parse_args()
    found: dict[tuple[str, Measure], list[Group]] = defaultdict(list)
    for run in options.runs:
        for stage, group in _dialogues(run):
            for measure in _measurable(group):
                found[stage, measure].append(group)
    header = ("arm", "measure", "groups", "paid", "paid by chance", "mean share of the bonus", "by chance")
    print(markdown(header, [_row(*key, groups, options.permutations) for key, groups in found.items()]))


def _dialogues(run: Path) -> Iterator[tuple[str, Group]]:
    for text in (run / "trajectories" / "rollouts.jsonl").open():
        line = json.loads(text)
        group = group_from_dict(line)
        if any(one.context == "full" and one.origin == "policy" for one in group.trajectories):
            yield line["stage"], group


def _measurable(group: Group) -> list[Measure]:
    """Those whose contexts are there; `full` counts where there are further answers."""
    there = {one.context for one in group.trajectories if one.origin == "policy" and (one.control or one.context != "full")}
    found = [measure for measure, contexts in COMPARED.items() if contexts and contexts <= there]
    return [*found, *(["logp"] if _gold_places(group) else [])]  # type: ignore[list-item]


def _gold_places(group: Group) -> list[int]:
    """Where the gold answers stand whose log-probs `logp` compares."""
    return [index for index, one in enumerate(group.trajectories) if one.origin == "teacher" and one.control]


def _row(stage: str, measure: Measure, groups: Sequence[Group], permutations: int) -> tuple[str, ...]:
    draw = Random(0)
    seen = [one for group in groups for one in _correct(group, measure)]
    chance = [one for group in groups for _ in range(permutations) for one in _correct(_permuted(group, measure, draw), measure)]
    shares = [f"{fmean(one.paid > 0 for one in part):.3f}" if part else "-" for part in (seen, chance)]
    means = [f"{fmean(one.paid for one in part):.3f}" if part else "-" for part in (seen, chance)]
    return (stage, measure, str(len(groups)), *shares, *means)


def _correct(group: Group, measure: Measure) -> list[Account]:
    nu = NU if measure == "paper_gate" else 1.0
    return [one for one in accounts(group, measure, nu=nu) if one.correct]


def _permuted(group: Group, measure: Measure, draw: Random) -> Group:
    """The group with what the measure looks at dealt out anew: scores of all answers, or log-probs of a gold answer."""
    if measure == "logp":
        return _swapped(group, draw)
    looked = {"full", *COMPARED[measure]}
    places = [index for index, one in enumerate(group.trajectories) if one.context in looked and one.status is not None]
    scores = [group.trajectories[index].score for index in places]
    draw.shuffle(scores)
    dealt = dict(zip(places, scores, strict=True))
    attempts = [replace(one, score=dealt.get(index, one.score)) for index, one in enumerate(group.trajectories)]
    return replace(group, trajectories=tuple(attempts))


def _swapped(group: Group, draw: Random) -> Group:
    """The gold answer after a dialogue and after the blanked one change places, or do not: the same for all of its tokens."""
    rows = list(group.trajectories)
    pairs: dict[int | None, list[int]] = defaultdict(list)
    for index in _gold_places(group):
        pairs[rows[index].dialogue].append(index)
    for one, other in pairs.values():
        if draw.random() < 0.5:
            rows[one], rows[other] = (
                replace(rows[other], context=rows[one].context),
                replace(rows[one], context=rows[other].context),
            )
    return replace(group, trajectories=tuple(rows))


if __name__ == "__main__":
    main()
