"""Groups that this package wrote itself: curated data, or the rollouts of an earlier run."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.base import checked
from rl_distill.records import read_groups
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group


@config
class Records:
    """A JSON-lines file of groups; attempts with token ids are trained on as they were sampled, never tokenised again.

    Lines about the same problem (it was sampled at several steps) become one group.
    """

    name: Literal["records"] = "records"
    path: str = setting(about="JSON-lines file of groups, as in a run's trajectories/ folder")
    num_problems: int | None = setting(
        None, about="problems that are drawn; those of a smaller draw are among those of a larger one; none takes all", ge=1
    )
    seed: int = setting(0, about="which ones are drawn")

    def groups(self) -> Sequence[Group]:
        merged: dict[str, Group] = {}
        for group in read_groups(self._file):
            before = merged.get(group.problem.id)
            if before is not None and before.problem != group.problem:
                raise InputError(
                    f"problems {self.name!r}", f"two problems have the id {group.problem.id!r}", "give each an id of its own"
                )
            attempts = before.trajectories if before else ()
            merged[group.problem.id] = Group(problem=group.problem, trajectories=attempts + group.trajectories)
        return checked(self._drawn(list(merged.values())), self.name)

    def _drawn(self, groups: list[Group]) -> list[Group]:
        """In the order of the file."""
        if self.num_problems is None:
            return groups
        if self.num_problems > len(groups):
            problem = f"is {self.num_problems}, and {str(self._file)!r} has {len(groups)}"
            raise InputError(f"problems {self.name!r}, num_problems", problem, "lower it, or give more problems")
        ranked = sorted(groups, key=lambda group: addressed_seed(self.seed, "records", group.problem.id))
        chosen = {group.problem.id for group in ranked[: self.num_problems]}
        return [group for group in groups if group.problem.id in chosen]

    def data_digest(self) -> str:
        if not self._file.is_file():
            raise InputError("path", f"there is no file {str(self._file)!r}", "give a file of groups")
        return hashlib.sha256(self._file.read_bytes()).hexdigest()

    @property
    def _file(self) -> Path:
        return Path(self.path).expanduser()
