"""The base of problem sets whose problems are rows of a file or of a hub data set."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from rl_distill.config import config, setting
from rl_distill.problems.base import checked
from rl_distill.problems.rows import HubDataset, Row, read_rows, rows_digest
from rl_distill.trajectory import Group


@config
class RowSet(ABC):
    """A named public set: read from `path`, else from a file in the folder that RL_DISTILL_DATA names, else from the hub."""

    name: str
    path: str | None = setting(None, about="local .jsonl, .json or .parquet file; none looks in RL_DISTILL_DATA, then on the hub")
    num_problems: int | None = setting(None, about="keep only the first so many problems; none keeps all", ge=1)

    @property
    @abstractmethod
    def file(self) -> str:
        """The name of the set's file in a data folder."""

    @property
    def hub(self) -> HubDataset | None:
        """Where the set lives on the hub; None where it does not."""
        return None

    @abstractmethod
    def group(self, row: Row, index: int) -> Group | None:
        """The group of one row (`index` from 0), None where the configuration leaves it out."""

    def groups(self) -> Sequence[Group]:
        found = [self.group(row, index) for index, row in enumerate(self._rows())]
        return checked([group for group in found if group is not None][: self.num_problems], self.name)

    def data_digest(self) -> str:
        return rows_digest(self._rows())

    def _rows(self) -> list[Row]:
        return read_rows(path=self.path, file=self.file, hub=self.hub)
