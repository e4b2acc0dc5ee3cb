"""What a reader of a comparison has to know beside its numbers: whatever was not alike, and whether chance was shared."""

from collections.abc import Iterator, Mapping

from rl_distill.evaluation.evaluation_folder import differences
from rl_distill.evaluation.measured import UNKNOWN, Measured


def comparison_notes(one: Measured, other: Measured, left_out: Mapping[str, int]) -> list[str]:
    """A line each, on what does not forbid the comparison.

    Args:
        left_out: by compared benchmark how many of its problems one of the two has no judged attempt at.
    """
    templates = [side.model["chat_template"] for side in (one, other)]
    notes = [f"{name}: {count} problems left out, where one has no judged attempt" for name, count in left_out.items() if count]
    unknown = [place for place, template in zip(("first", "second"), templates, strict=True) if template == UNKNOWN]
    if unknown:
        whose = "its student was named" if len(unknown) == 1 else "their students were named"
        notes.append(f"the chat template of the {' and the '.join(unknown)} is unknown: {whose} and not saved with the run")
    elif templates[0] != templates[1]:
        notes.append(
            f"other chat templates ({templates[0]} in the first and {templates[1]} in the second) around the same prompts"
        )
    notes += _conditions(one, other)
    for name in left_out:
        notes += _of_benchmark(name, one, other)
    left = [name for side in (one, other) for name in side.benchmarks if name not in left_out]
    if left:
        notes.append(f"not compared: {', '.join(sorted(set(left)))}")
    return notes


def _conditions(one: Measured, other: Measured) -> Iterator[str]:
    for key, then, now in differences(one.conditions, other.conditions):
        if key == "engine.name" or not key.startswith("engine.") or _same_engine(one, other):  # other engines have other keys
            yield f"{key} is {then} in the first and {now} in the second"


def _of_benchmark(name: str, one: Measured, other: Measured) -> Iterator[str]:
    before, after = one.benchmarks[name], other.benchmarks[name]
    if before.num_samples != after.num_samples:
        yield f"{name}: {before.num_samples} samples at each problem in the first and {after.num_samples} in the second"
    seeds = [side.conditions["seed"] for side in (one, other)]
    greedy = before.settings["sampling"].get("temperature") == 0
    shared = greedy or (seeds[0] == seeds[1] and _same_engine(one, other))
    drawn = "nothing is drawn at temperature 0" if greedy else f"both drew with seed {seeds[0]}"
    if one.model == other.model and shared and one.conditions["engine"] == other.conditions["engine"]:
        equal = "the same answers by construction, so this compares nothing"
        if before.num_samples != after.num_samples:
            fewer = min(before.num_samples, after.num_samples)
            equal = f"the first {fewer} answers at each problem are the same by construction"
        yield f"{name}: the same model, and {drawn}: {equal}"
    elif one.model == other.model:
        yield f"{name}: the same model in both: what differs comes from the draws or from how it was run"
    elif shared and greedy:
        yield f"{name}: {drawn}"
    elif shared:
        yield f"{name}: {drawn}: each attempt met the same random numbers in both (paired draws)"


def _same_engine(one: Measured, other: Measured) -> bool:
    return bool(one.conditions["engine"]["name"] == other.conditions["engine"]["name"])
