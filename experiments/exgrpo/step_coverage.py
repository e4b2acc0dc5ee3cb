"""How many of the steps that a student of the rules world has wrong are shown to it, by traces alone and with probes.

run: python experiments/exgrpo/step_coverage.py
"""

import argparse
import re
from collections.abc import Sequence

from rl_distill.markdown_table import markdown
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.problems.arithmetic_chain import is_hard
from rl_distill.trajectory import Group

STEP = re.compile(r"(?<![+-] )\b(\d+) ([+-]) (\d+) = (\d+)")
FRACTIONS = (5, 12, 24, 48)  # problems: 10, 25, 50 and 100 % of the warm-up's


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = []
    for count in FRACTIONS:
        inversion, rephrasing = (
            Arithmetic(world="rules", attempts="singles", probes=family, seed=1, num_problems=count).groups()
            for family in ("inversion", "rephrasing")
        )
        traces = [Group(problem=group.problem, trajectories=group.trajectories[:1]) for group in inversion]
        rows.append((str(count), *(str(len(_shown(groups))) for groups in (traces, inversion, rephrasing))))
    print(markdown(("problems", "traces", "with inversion probes", "with rephrasings"), rows))


def _shown(groups: Sequence[Group]) -> set[tuple[int, int]]:
    """Steps that carry or borrow and stand in a reply with their true result."""
    said = " ".join(
        turn.content for group in groups for lesson in group.trajectories for turn in lesson.messages if turn.role == "assistant"
    )
    steps = [(int(value), int(sign + size), int(result)) for value, sign, size, result in STEP.findall(said)]
    return {(value, operand) for value, operand, result in steps if value + operand == result and is_hard(value, operand)}


if __name__ == "__main__":
    main()
