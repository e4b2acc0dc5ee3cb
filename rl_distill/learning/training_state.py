"""A learner's state on disk by parameter: whole tensors under the model's own names, whatever they were sharded over.

state-00000.safetensors ...  weight/NAME, exp_avg/NAME, exp_avg_sq/NAME, updates/NAME
learner.json                 steps_done

So a run goes on from it with another number of ranks, another ZeRO stage, or in one process.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rl_distill.errors import RunError

MOMENTS = ("exp_avg", "exp_avg_sq")
FIELDS = ("weight", *MOMENTS, "updates")  # updates: how often AdamW has moved the parameter, a tensor of one element


def write_state(folder: Path, parts: Iterable[Mapping[str, Mapping[str, Tensor]]], steps_done: int) -> None:
    """Write what `parts` yield, a file for each: name of a parameter -> its `FIELDS`."""
    for number, part in enumerate(parts):
        tensors = {f"{field}/{name}": values[field].detach().contiguous() for name, values in part.items() for field in FIELDS}
        save_file(tensors, folder / f"state-{number:05d}.safetensors")
    (folder / "learner.json").write_text(json.dumps({"steps_done": steps_done}))


def read_state(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each parameter's fields, one at a time.

    Raises:
        RunError: the parameters there are not exactly `names`.
    """
    files = sorted(folder.glob("state-*.safetensors"))
    place = {key.removeprefix("weight/"): file for file in files for key in _keys(file) if key.startswith("weight/")}
    if place.keys() != set(names):
        raise RunError(
            f"checkpoint {folder}: its weights are not this student's ({len(place)} tensors against {len(set(names))})"
        )
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in (name for name, where in place.items() if where == file):
                yield name, {field: opened.get_tensor(f"{field}/{name}") for field in FIELDS}


def read_steps_done(folder: Path) -> int:
    return int(json.loads((folder / "learner.json").read_text())["steps_done"])


def fields_of(weight: Tensor, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The fields of one parameter from torch AdamW's state of it, which is empty before the first update."""
    found = {field: moments.get(field, torch.zeros_like(weight)) for field in MOMENTS}
    updates = moments.get("step", torch.zeros(()))
    return {"weight": weight, **found, "updates": torch.as_tensor(updates, dtype=torch.float32).reshape(1)}


def _keys(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())
