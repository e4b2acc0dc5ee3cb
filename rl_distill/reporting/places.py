"""Which runs a report is about: folders of runs, and sweeps with the runs of their cells."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rl_distill.errors import InputError
from rl_distill.reporting.sweep_folder import SweepFolder, is_sweep, read_sweep

MAX_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """
    runs    folders by the label that the report calls them by, no two the same
    notes   what of a sweep could not be read, or is left out
    """

    runs: dict[str, Path]
    sweeps: tuple[SweepFolder, ...]
    notes: tuple[str, ...]


def find_places(sources: Sequence[Path]) -> Places:
    """
    Raises:
        InputError: a folder does not exist, or holds neither a run nor a sweep.
    """
    runs: dict[Path, None] = {}  # in the order given, each once
    sweeps: list[SweepFolder] = []
    notes: list[str] = []
    for source in sources:
        path = source.expanduser()
        if not path.is_dir():
            raise InputError("RUN", f"there is no folder {str(source)!r}", "give the folder of a run or a sweep")
        if is_sweep(path):
            found = read_sweep(path, notes)
            runs |= dict.fromkeys(one.resolve() for one in found.cells)
            sweeps.append(found)
            if not found.cells:
                notes.append(f"{path}: none of its cells has begun")
        elif (path / "recipe.yaml").is_file() or _is_empty(path):
            runs[path.resolve()] = None
        else:
            raise InputError("RUN", f"{str(source)!r} holds no run", _remedy(path))
    return Places(runs=_labelled(list(runs)), sweeps=tuple(sweeps), notes=tuple(notes))


def _is_empty(path: Path) -> bool:
    """A run that ended before it wrote its recipe leaves at most hidden files."""
    return all(one.name.startswith(".") for one in path.iterdir())


def _remedy(path: Path) -> str:
    inside = sorted(str(one.parent) for one in path.glob("*/recipe.yaml"))
    if not inside:
        return "give the folder of a run (its run_dir) or of a sweep"
    more = f" and {len(inside) - MAX_NAMED} more" if len(inside) > MAX_NAMED else ""
    return f"it holds the runs {', '.join(inside[:MAX_NAMED])}{more}: give those"


def _labelled(paths: Sequence[Path]) -> dict[str, Path]:
    """The shortest ends of the paths that tell them apart."""
    length = 1
    while True:
        labels = ["/".join(path.parts[-length:]) for path in paths]
        if max(Counter(labels).values(), default=1) == 1:
            return dict(zip(labels, paths, strict=True))
        length += 1
