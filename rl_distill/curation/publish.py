"""The published folder: groups for this package, rows in TRL's columns for everybody, and the card that explains them.

    attempts.jsonl      every verified attempt of the selected problems, right and wrong
    sft.jsonl           the right ones that are to be imitated
    pairs.jsonl         a right and a wrong attempt of each problem that has both
    sft/, pairs/        the same as Parquet files with TRL's columns, which `datasets.load_dataset` reads
    probe_sft.jsonl, probe_dialogues.jsonl, probe_sft/, probe_dialogues/
                        probes to imitate, one a row and several before their problem
    probes/             Parquet: a problem a row with all of its probes, labelled
    README.md           the data card, with lengths.png
    card.json           what the card says, as data

The folder is a data set repository of the Hugging Face hub as it stands.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_distill.curation.card import card_data, card_text, plot_lengths
from rl_distill.curation.probe_data import dialogues, plain_rows, single_turns
from rl_distill.curation.probes import Probing
from rl_distill.curation.stage_folder import StageFolder
from rl_distill.curation.teachers import teacher_name
from rl_distill.curation.validate import publishable
from rl_distill.errors import InputError
from rl_distill.records import group_to_dict
from rl_distill.sealing import sealed
from rl_distill.trajectory import Group, Message, Trajectory

if TYPE_CHECKING:
    from rl_distill.curation.recipe import CurationRecipe


def publish(recipe: "CurationRecipe", target: Path, stages: Mapping[str, StageFolder], chosen: Sequence[Group]) -> Path:
    """Write the folder; it appears whole or not at all. Returns it.

    Args:
        chosen: what the last of the stages that make one pool out of another left.

    Raises:
        InputError: nothing is left to imitate.
    """
    taught = [
        replace(group, trajectories=attempts)
        for group in chosen
        if (attempts := tuple(attempt for attempt in group.trajectories if publishable(recipe, attempt)))
    ]
    if not taught:
        raise InputError(
            "curation", "no attempt is right and ended by itself", "look at the verify stage's facts.json, and at its drops"
        )
    pairs = stages["pair"].groups() if "pair" in stages else []
    data = card_data(recipe, stages, chosen=chosen, taught=taught, pairs=pairs)
    with sealed(target) as working:
        for name, groups in (("attempts", chosen), ("sft", taught), ("pairs", pairs)):
            if groups:
                _write_groups(working / f"{name}.jsonl", groups)
        _write_parquet(working / "sft", (_imitated(group.problem.id, one) for group in taught for one in group.trajectories))
        if pairs:
            _write_parquet(working / "pairs", (_preferred(group) for group in pairs))
        if recipe.probes is not None:
            _write_probes(working, recipe.probes, chosen, recipe.seed)
        (working / "card.json").write_text(json.dumps(data, indent=1, sort_keys=True))
        (working / "README.md").write_text(card_text(recipe, data))
        plot_lengths(chosen, working / "lengths.png")
    return target


def push(folder: Path, repository: str) -> str:
    """Upload a published folder as a data set repository of the hub; its address.

    Raises:
        InputError: the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, repo_type="dataset", folder_path=folder)
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            "--push", f"{repository!r} is refused ({reason})", "log in with `hf auth login`, or upload later"
        ) from None
    return f"https://huggingface.co/datasets/{repository}"


def _write_probes(folder: Path, probing: Probing, chosen: Sequence[Group], seed: int) -> None:
    alone = single_turns(chosen, teacher_name(probing.teacher))
    together = dialogues(chosen, probing.dialogue_probes, seed)
    _write_groups(folder / "probe_sft.jsonl", alone)
    _write_groups(folder / "probe_dialogues.jsonl", together)
    _write_parquet(folder / "probe_sft", (_imitated(group.problem.id, group.trajectories[0]) for group in alone))
    talks = ({"id": group.problem.id, "messages": _plain(group.trajectories[0].messages)} for group in together)
    _write_parquet(folder / "probe_dialogues", talks)
    _write_parquet(folder / "probes", plain_rows(chosen))


def _imitated(problem_id: str, attempt: Trajectory) -> dict[str, Any]:
    prompt, reply = _turns(attempt)
    return {"id": problem_id, "prompt": prompt, "completion": reply}


def _preferred(group: Group) -> dict[str, Any]:
    chosen, rejected = group.trajectories
    prompt, reply = _turns(chosen)
    return {"id": group.problem.id, "prompt": prompt, "chosen": reply, "rejected": _turns(rejected)[1]}


def _turns(attempt: Trajectory) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The conversation before the reply, and the reply, as TRL writes them."""
    *before, reply = attempt.messages
    return _plain(before), _plain([reply])


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in messages]


def _write_groups(path: Path, groups: Sequence[Group]) -> None:
    path.write_bytes(b"".join(json.dumps(group_to_dict(group), allow_nan=False).encode() + b"\n" for group in groups))


def _write_parquet(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), folder / "train.parquet")
