"""What a reward is: a configuration value that measures a batch of attempts, and never invents a number it does not have."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from rl_distill.config import config, setting
from rl_distill.trajectory import Problem, Trajectory

Attempt = tuple[Problem, Trajectory]


@config
class Reward(ABC):
    """Measures attempts; an algorithm turns the measurements into credit. Concrete classes fix `name` to their table key."""

    name: str
    weight: float = setting(1.0, about="share in the weighted sum; 0 only records the reward", allow_inf_nan=False)

    @property
    def part(self) -> str:
        """The key of this reward in `Score.parts`."""
        return self.name

    @property
    def lowest(self) -> float | None:
        """The least that it can give; None where only running it tells."""
        return None

    @abstractmethod
    def measure(self, attempts: Sequence[Attempt]) -> list[float | None]:
        """One unweighted value for each attempt, in order; None where no reward exists (it could not be determined).

        Takes a whole batch, since graders work in parallel.
        """
