"""What a selection is: a configuration value that keeps a part of the groups and says why it leaves out the others."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

from rl_distill.config import config
from rl_distill.curation.drop import Drop
from rl_distill.errors import InputError
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group, Problem, Trajectory

Length = Callable[[str], int]
Selected = tuple[list[Group], list[Drop]]


@config
class Operation(ABC):
    """Keeps a part of the groups, in their order. What is kept is a function of the groups and the seed, not of their order.

    Concrete classes fix `name` to their table key; it is the `stage` of their drops.
    """

    name: str

    @abstractmethod
    def apply(self, groups: Sequence[Group], seed: int, length: Length = len) -> Selected:
        """Groups that are kept, and what was left out. Groups and kept attempts together with the drops are all that came in.

        Args:
            seed: of the run; an operation that draws nothing ignores it.
            length: of a response, such as its tokens by the student's tokenizer; characters if not given.

        Raises:
            InputError: the groups do not have what the operation looks at, or a library is missing.
        """

    def dropped(self, group: Group, reason: str, *, match: str = "", detail: str = "", attempt: int | None = None) -> Drop:
        return Drop(
            stage=self.name,
            problem_id=group.problem.id,
            source=group.problem.source,
            reason=reason,
            match=match,
            detail=detail,
            attempt=attempt,
        )

    def shuffled(self, groups: Sequence[Group], seed: int) -> list[int]:
        """Places of the groups in a random order, a function of their sources and ids alone: a smaller draw begins a larger."""
        return sorted(
            range(len(groups)),
            key=lambda place: addressed_seed(seed, self.name, groups[place].problem.source, groups[place].problem.id),
        )


@config
class AttemptFilter(Operation):
    """Looks at one attempt after the other. A problem goes when none of its attempts is left."""

    def keep_attempts(self, groups: Sequence[Group], fault: Callable[[Problem, Trajectory], str | None]) -> Selected:
        """Leave out the attempts that have a fault (in words, for the drop's detail); the reason is the operation's name.

        Raises:
            InputError: there are groups, but no attempts.
        """
        if groups and not any(group.trajectories for group in groups):
            raise InputError(f"curation.{self.name}", "finds no attempts to look at", "select attempts after they are generated")
        kept: list[Group] = []
        drops: list[Drop] = []
        for group in groups:
            faults = [fault(group.problem, attempt) for attempt in group.trajectories]
            found = [
                self.dropped(group, self.name, detail=detail, attempt=place)
                for place, detail in enumerate(faults)
                if detail is not None
            ]
            drops += found
            if found and len(found) == len(faults):
                drops.append(self.dropped(group, "no_attempt_left", detail=f"of {len(faults)}"))
                continue
            attempts = tuple(attempt for attempt, detail in zip(group.trajectories, faults, strict=True) if detail is None)
            kept.append(replace(group, trajectories=attempts))
        return kept, drops
