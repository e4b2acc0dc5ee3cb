"""The folder of a comparison of gradients: gradients.md, gradients.json, gradients.png."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rl_distill.analysis.gradient_comparison import AlgorithmGradient, GradientComparison
from rl_distill.analysis.gradient_plots import plot_gradients
from rl_distill.errors import InputError
from rl_distill.markdown_table import markdown
from rl_distill.records import read_groups
from rl_distill.trajectory import Group

SCHEMA = "rl_distill.gradients/1"


def first_groups(path: Path, count: int | None) -> list[Group]:
    """
    Raises:
        InputError: the file holds no groups, or `count` is none.
    """
    if count is not None and count < 1:
        raise InputError("--first", f"is {count}", "give a number of 1 or more")
    groups = list(islice(read_groups(path), count))
    if not groups:
        raise InputError("GROUPS", f"{str(path)!r} holds no group", "give JSON lines of groups, as in a run's trajectories/")
    return groups


def write_gradients(found: GradientComparison, folder: Path) -> list[str]:
    """Write the report; returns the lines that a person reads.

    Raises:
        InputError: the folder cannot be written.
    """
    lines = list(gradient_lines(found))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gradients.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "gradients.json").write_text(json.dumps(as_data(found), indent=1) + "\n", encoding="utf-8")
        if found.algorithms:
            plot_gradients(found, folder / "gradients.png")
    except OSError as error:
        problem = f"{str(folder)!r} cannot be written ({error.strerror})"
        raise InputError("--output", problem, "name a folder that you may write to") from None
    return [*lines, "", f"written to {folder}"]


def gradient_lines(found: GradientComparison) -> Iterator[str]:
    """Norms and shares of every algorithm, the cosines between them, and who is left out."""
    attempts = sum(len(group.trajectories) for group in found.groups)
    yield f"{found.student}: {attempts} attempts at {len(found.groups)} problems"
    yield ""
    parts = sorted({(part.division, part.name) for one in found.algorithms.values() for part in one.parts}, key=_order)
    header = ("algorithm", "attempts", "tokens", "norm", *(f"{division}: {name}" for division, name in parts))
    yield markdown(header, [_row(one, parts) for one in found.algorithms.values()])
    yield ""
    yield "Parts: norm, and share of the whole (projection); the shares of a division add up to 1. Cosines between gradients:"
    yield ""
    names = list(found.algorithms)
    yield markdown(("cosine", *names), [(row, *(_form(found.cosines[row, column], ".2f") for column in names)) for row in names])
    if found.left_out:
        yield ""
        yield from (f"left out: {name}, which {why}" for name, why in found.left_out.items())


def as_data(found: GradientComparison) -> dict[str, Any]:
    """What `gradients.json` holds: all of it, credits beside the tokens they are about."""
    return {
        "schema": SCHEMA,
        "student": found.student,
        "algorithms": {
            name: {
                **{key: getattr(one, key) for key in ("num_samples", "num_tokens", "loss", "norm")},
                "parts": [{key: getattr(part, key) for key in ("division", "name", "norm", "share")} for part in one.parts],
            }
            for name, one in found.algorithms.items()
        },
        "cosines": {row: {column: found.cosines[row, column] for column in found.algorithms} for row in found.algorithms},
        "left_out": dict(found.left_out),
        "attempts": [
            {
                "problem": group.problem.id,
                "attempt": place,
                "origin": attempt.origin,
                "status": attempt.status,
                "tokens": list(found.texts[number, place]),
                "credits": {
                    name: one.credits[number, place] for name, one in found.algorithms.items() if (number, place) in one.credits
                },
            }
            for number, group in enumerate(found.groups)
            for place, attempt in enumerate(group.trajectories)
        ],
    }


def _order(part: tuple[str, str]) -> tuple[int, str]:
    names = ("imitated", "avoided", "correct", "wrong", "policy", "teacher")
    return ("credit", "verdict", "origin").index(part[0]), str(names.index(part[1])) if part[1] in names else part[1]


def _row(one: AlgorithmGradient, parts: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    known = {(part.division, part.name): part for part in one.parts}
    cells = ["-" if part not in known else f"{known[part].norm:.3g} ({_form(known[part].share, '.0%')})" for part in parts]
    return (one.name, f"{one.num_samples}", f"{one.num_tokens:,}", f"{one.norm:.3g}", *cells)


def _form(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
