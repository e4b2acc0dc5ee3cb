"""The data card: the whole funnel, how attempts were verified, how long they are, where they come from."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from rl_distill.curation.extract import length_of
from rl_distill.curation.probe_card import probe_data, probe_tables
from rl_distill.curation.stage_folder import StageFolder
from rl_distill.curation.teachers import teacher_name
from rl_distill.trajectory import Group

if TYPE_CHECKING:
    from rl_distill.curation.recipe import CurationRecipe

PROBE_SETS = ("probe_sft", "probe_dialogues", "probes")
UNKNOWN = "unknown: name it under `licenses`"
TEMPLATE = """---
configs:
{configs}
---

# {name}

{opening}

## Funnel

{funnel}

## Left out

{left_out}

## Verification

{methods}

{judge} Versions: {versions}.

{recorded}

{probes}## Lengths

{lengths}

![lengths of right and wrong attempts](lengths.png)

## Sources

{sources}

## Evaluation kept out

{contamination}
"""


def card_data(
    recipe: "CurationRecipe",
    stages: Mapping[str, StageFolder],
    *,
    chosen: Sequence[Group],
    taught: Sequence[Group],
    pairs: Sequence[Group],
) -> dict[str, Any]:
    """Everything that the card says, as plain data."""
    facts = {name: folder.facts() for name, folder in stages.items()}
    sources = sorted({source for found in facts.values() for source in found["counts"]})
    hits = facts["decontaminate"]["dropped"] if "decontaminate" in facts else None
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "teacher": teacher_name(recipe.generate.teacher) if recipe.generate else None,
        "published": {
            "problems": len(taught),
            "sft": sum(len(group.trajectories) for group in taught),
            "pairs": len(pairs),
        },
        "stages": {name: {"counts": found["counts"], "dropped": found["dropped"]} for name, found in facts.items()},
        "generation": {key: value for key, value in facts.get("generate", {}).items() if key not in ("counts", "dropped")},
        "verification": {key: facts["verify"][key] for key in ("versions", "methods", "judge", "recorded")},
        "probes": probe_data(facts) if recipe.probes else None,
        "lengths": {status: _spread(lengths) for status, lengths in lengths_by_status(chosen)[0].items()},
        "length_unit": lengths_by_status(chosen)[1],
        "licenses": {source: recipe.licenses.get(source, UNKNOWN) for source in sources},
        "contamination": hits,
    }


def card_text(recipe: "CurationRecipe", data: Mapping[str, Any]) -> str:
    """The README of the published folder."""
    published, verification = data["published"], data["verification"]
    names = ["sft", *(["pairs"] if published["pairs"] else []), *(PROBE_SETS if data["probes"] else [])]
    teacher = f"Answers by `{data['teacher']}`, seed {data['seed']}. " if data["teacher"] else "Attempts as the sets have them. "
    judge, recorded = verification["judge"], verification["recorded"]
    text = TEMPLATE.format(
        configs="\n".join(f"- config_name: {name}\n  data_files: {name}/*.parquet" for name in names),
        name=data["name"],
        opening=f"{teacher}{published['sft']} right attempts at {published['problems']} problems to imitate, "
        f"{published['pairs']} pairs of a right and a wrong one.{_bill(data['generation'])}",
        funnel=_table(["stage", "source", "problems", "attempts", "right", "wrong", "not verifiable"], _funnel(data["stages"])),
        left_out=_table(["stage", "source", "what and why", "count"], _left_out(data["stages"])) or "Nothing.",
        methods=_table(["method", "right", "wrong", "not verifiable"], _methods(verification["methods"])),
        versions=", ".join(f"{name} {found}" for name, found in verification["versions"].items()),
        judge=f"The judge was asked about {judge['asked']} attempts and overruled the rules on {judge['overruled']}."
        if judge["asked"]
        else "No judge was asked.",
        recorded=f"Labels that came with the data agree with ours on {recorded['agreement']:.1%} of the attempts: "
        + ", ".join(f"{pair} {count}" for pair, count in recorded["pairs"].items())
        + " (theirs / ours); every other one is in the verify stage's disagreements.jsonl."
        if recorded["agreement"] is not None
        else "",
        probes=_probes(data["probes"]) if data["probes"] else "",
        lengths=_table(
            [f"{data['length_unit']} of an attempt", "attempts", "shortest", "median", "95 %", "longest"],
            [[status, *map(str, spread.values())] for status, spread in data["lengths"].items()],
        ),
        sources=_table(["source", "licence"], [[source, text] for source, text in data["licenses"].items()]),
        contamination="No evaluation set was named: nothing was compared."
        if data["contamination"] is None
        else _table(["source", "rule", "problems left out"], _hits(data["contamination"]))
        or "No problem of the pool is in the evaluation sets.",
    )
    return re.sub("\n{3,}", "\n\n", text)  # a part may be empty


def lengths_by_status(groups: Sequence[Group]) -> tuple[dict[str, list[int]], str]:
    """Lengths of attempts by status, and their unit."""
    found: dict[str, list[int]] = {}
    units = set()
    for group in groups:
        for attempt in group.trajectories:
            length, unit = length_of(attempt)
            units.add(unit)
            found.setdefault(attempt.status or "unverified", []).append(length)
    return dict(sorted(found.items())), " or ".join(sorted(units))


def plot_lengths(groups: Sequence[Group], path: Path) -> None:
    """One PNG: how long right, wrong and unverifiable attempts are, on one axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lengths, unit = lengths_by_status(groups)
    figure, axis = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    longest = max((max(values) for values in lengths.values()), default=1)
    bins = [longest * place / 40 for place in range(41)]
    for status, values in lengths.items():
        axis.hist(values, bins=bins, histtype="step", linewidth=1.6, label=f"{status} ({len(values)})")
    axis.set(xlabel=unit, ylabel="attempts", title="length of an attempt")
    axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _probes(data: Mapping[str, Any]) -> str:
    tables = [f"{heading}:\n\n{_table(header, rows)}\n\n" for heading, header, rows in probe_tables(data) if rows]
    return "## Probes\n\n" + "".join(tables)


def _bill(generation: Mapping[str, Any]) -> str:
    if not generation:
        return ""
    tokens = f"{generation['prompt_tokens']:,.0f} prompt and {generation['completion_tokens']:,.0f} answer tokens"
    labels = ", ".join(f"{count} {label}" for label, count in generation["rows"].items())
    return f" The teacher took {tokens}, price {generation['price']:.2f}; rows: {labels}."


def _spread(lengths: Sequence[int]) -> dict[str, int]:
    cuts = quantiles(lengths, n=20, method="inclusive") if len(lengths) > 1 else [lengths[0]] * 19
    return {
        "attempts": len(lengths),
        "shortest": min(lengths),
        "median": round(cuts[9]),
        "95 %": round(cuts[18]),
        "longest": max(lengths),
    }


def _funnel(stages: Mapping[str, Any]) -> Iterator[list[str]]:
    for stage, found in stages.items():
        for source, count in found["counts"].items():
            verdicts = [count.get(key, 0) for key in ("correct", "wrong", "unverifiable")]
            told = map(str, verdicts) if any(verdicts) else [""] * 3  # nobody has looked yet
            yield [stage, source, str(count["problems"]), str(count["attempts"]), *told]


def _left_out(stages: Mapping[str, Any]) -> Iterator[list[str]]:
    for stage, found in stages.items():
        for source, reasons in found["dropped"].items():
            for reason, count in reasons.items():
                yield [stage, source, reason, str(count)]


def _methods(methods: Mapping[str, Any]) -> Iterator[list[str]]:
    for method, found in methods.items():
        yield [method, *(str(found.get(status, 0)) for status in ("correct", "wrong", "unverifiable"))]


def _hits(dropped: Mapping[str, Mapping[str, int]]) -> Iterator[list[str]]:
    for source, reasons in dropped.items():
        for reason, count in reasons.items():
            yield [source, reason.removeprefix("problem: "), str(count)]


def _table(header: Sequence[str], rows: Iterator[list[str]] | Sequence[list[str]]) -> str:
    """Markdown; "" without rows."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    top = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join([*top, *(f"| {line} |" for line in lines)]) if lines else ""
