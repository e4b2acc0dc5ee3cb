"""The file of a sweep: which recipe, which keys take which values, what is compared with what."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rl_distill.config import config, parse, read_yaml, setting
from rl_distill.errors import InputError
from rl_distill.training.alarms import Alarms
from rl_distill.training.stages import LENGTHS

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
BUDGET_KEYS = {  # of a stage, by the amount that a budget is given in
    "sampled_tokens": "max_generated_tokens",
    "trained_tokens": "max_trained_tokens",
    "flops": "max_flops",
    "seconds": "max_seconds",
}
Values = Mapping[str, Any]  # by the key of a recipe, as an override writes it


@config
class Arm:
    """A named variant."""

    name: str = setting(about="names its cells", pattern=NAME)
    set: Values = setting({}, about="what it changes in the recipe")
    outcome: str | None = setting(None, about="the stage that is compared; none is the sweep's")


@config
class Draw:
    """How a key is drawn: exactly one of these."""

    uniform: tuple[float, float] | None = setting(None, about="between two numbers")
    log_uniform: tuple[float, float] | None = setting(None, about="between two numbers above 0, evenly in their logarithm")
    choice: tuple[Any, ...] | None = setting(None, about="one of these values", min_length=1)

    def __post_init__(self) -> None:
        given = [(name, getattr(self, name)) for name in ("uniform", "log_uniform", "choice")]
        found = [(name, values) for name, values in given if values is not None]
        if len(found) != 1:
            raise ValueError("is drawn in no way or in several; give exactly one of uniform, log_uniform, choice")
        name, values = found[0]
        if name != "choice" and not values[0] < values[1]:
            raise ValueError(f"{name}: {list(values)} is no range; give the smaller number first")
        if name == "log_uniform" and values[0] <= 0:
            raise ValueError(f"log_uniform: {values[0]:g} has no logarithm; give numbers above 0")


@config
class RandomSearch:
    """Values drawn at random, each draw for every arm and every point of the grid."""

    cells: int = setting(about="how many draws", ge=1)
    seed: int = setting(0, about="of the draws")
    keys: Mapping[str, Draw] = setting(about="how each key is drawn; numbers keep three digits", min_length=1)


@config
class Budget:
    """The length of every outcome stage, in place of the recipe's: exactly one of these. Needs a constant learning rate."""

    sampled_tokens: int | None = setting(None, about="sampled for training", unit="tokens", ge=1)
    trained_tokens: int | None = setting(None, about="with loss, each time they are trained on", unit="tokens", ge=1)
    flops: float | None = setting(None, about="of sampling, scoring and training", unit="FLOPs", gt=0)
    seconds: float | None = setting(None, about="of steps", unit="s", gt=0)

    def __post_init__(self) -> None:
        if len(self._given()) != 1:
            raise ValueError(f"is given in no amount or in several; give exactly one of {', '.join(BUDGET_KEYS)}")

    def overrides(self, stage: str) -> dict[str, Any]:
        """What it changes in a stage: the length that the recipe gives it goes."""
        return {f"stages.{stage}.{key}": value for key, value in {**dict.fromkeys(LENGTHS), **self._given()}.items()}

    def _given(self) -> dict[str, Any]:
        return {key: getattr(self, name) for name, key in BUDGET_KEYS.items() if getattr(self, name) is not None}


@config
class Sweep:
    """Runs of one recipe that differ in some keys. Keys are written as overrides are: `stages.redi.learner.learning_rate`."""

    name: str = setting(about="names the sweep's folder", pattern=NAME)
    recipe: str = setting(about="path of the recipe, from this file's folder")
    folder: str | None = setting(None, about="where everything goes; none is runs/sweeps/NAME")
    set: Values = setting({}, about="what all cells change in the recipe")
    arms: tuple[Arm, ...] = setting((), about="named variants; each for every point of the grid")
    grid: Mapping[str, tuple[Any, ...]] = setting({}, about="values of keys; a cell for every combination")
    random: RandomSearch | None = setting(None, about="values drawn at random")
    seeds: tuple[int, ...] = setting((0,), about="each cell runs once with each", min_length=1)
    seed_keys: tuple[str, ...] = setting(
        ("seed",), about="keys that take the seed; with student.model.seed each seed has a base student of its own", min_length=1
    )
    outcome: str | None = setting(
        None, about="stage whose held-out accuracy is compared, and whose way from base is trained; none is the last"
    )
    baseline: str | Values | None = setting(
        None, about="the cell that others are compared with: its name, or values that only it has; none compares nothing"
    )
    budget: Budget | None = setting(None, about="the length of every outcome stage; none leaves the recipe's")
    stop_on: tuple[str, ...] = setting((), about="alarms that end a cell early, by their key in `alarms` of a recipe")
    cpus: float = setting(1, about="CPU cores that a cell holds; it computes with as many threads", gt=0)
    gpus: float | None = setting(None, about="GPUs that a cell holds; none is one where there are any", ge=0)

    def __post_init__(self) -> None:
        for what, names in (("arms", [arm.name for arm in self.arms]), ("seeds", [str(seed) for seed in self.seeds])):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{what}: {twice[0]} stands there twice; name each once")
        for key, values in self.grid.items():
            if not values:
                raise ValueError(f"grid: {key} has no values; give a list of some")
        alarms = [field.name for field in fields(Alarms)]
        if unknown := [name for name in self.stop_on if name not in alarms]:
            raise ValueError(f"stop_on: {unknown[0]!r} is no alarm; choose from {', '.join(alarms)}")
        drawn = self.random.keys if self.random else {}
        if both := sorted(drawn.keys() & self.grid.keys()):
            raise ValueError(f"random: {both[0]} is in the grid too; leave it in one of them")

    @property
    def path(self) -> Path:
        return Path(self.folder or f"runs/sweeps/{self.name}").expanduser()


def read_sweep_file(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """A sweep's file with dotted overrides, validated strictly.

    Raises:
        InputError: naming the key, what is wrong with it, and the nearest thing that would be right.
    """
    if not path.is_file():
        raise InputError("SWEEP", f"there is no file {str(path)!r}", "give the path of a sweep's YAML file")
    return parse(Sweep, read_yaml(path, overrides))
