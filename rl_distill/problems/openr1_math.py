"""OpenR1-Math-Raw: problems of NuminaMath 1.5 with DeepSeek-R1's attempts, selected as REDI (arXiv:2505.24850) does it."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, overload

import numpy

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.base import dialogue, status_of, teacher_trajectory
from rl_distill.problems.disk_rows import DiskRows, disk_rows
from rl_distill.problems.rows import HubDataset, Row
from rl_distill.trajectory import Group, Problem, Trajectory, Verdict

HUB = "open-r1/OpenR1-Math-Raw"
COLUMNS = ("problem", "answer", "problem_is_valid", "source", "generations", "correctness")
VERIFIERS = ("llama_verification", "math_verify_reparsed_answer")  # parts of `correctness`; both must agree on a correct one

# REDI's construction (its code; the paper does not say it)
SHUFFLE_SEED = 42
LEFT_OUT_SOURCE = "cn_k12"

Labels = tuple[bool, ...]  # of one row: whether each generation is correct


class _Pick(NamedTuple):
    """What is taken of a row of the raw set: attempts by their place, and whether each is correct."""

    row: int
    attempts: tuple[tuple[int, bool], ...]


@config
class OpenR1Math:
    """The raw set in a fixed shuffled order, without invalid problems, problems of `cn_k12`, and rows with a label missing.

    An attempt is correct if both verifiers said so when the set was made; every other one counts as wrong, also one on which they
    differ. Nothing is verified here and no text is looked at: attempts that broke off or say nothing are among the wrong ones.
    Problems are called after their row in the raw set. Attempts stay on disk until they are asked for.
    """

    name: Literal["openr1_math"] = "openr1_math"
    part: Literal["sft", "pairs", "all"] = setting(
        "all",
        about="the first correct attempt of each problem that has one; the first correct and the first wrong one of each problem "
        "that has both; or every problem with all attempts",
    )
    path: str | None = setting(
        None,
        about="local .parquet, .jsonl or .json file, or folder of Parquet files; none looks for the folder OpenR1-Math-Raw in "
        "RL_DISTILL_DATA, then on the hub",
    )
    revision: str | None = setting(None, about="hub commit or tag to load; none takes the newest")
    num_problems: int | None = setting(None, about="keep only the first so many problems; none keeps all", ge=1)

    def groups(self) -> Sequence[Group]:
        rows = self._rows()
        picks = list(self._picks(rows))[: self.num_problems]
        if not picks:
            raise InputError(f"problems {self.name!r}", "the set is empty", "check its path and what it selects")
        return _Groups(rows, picks)

    def data_digest(self) -> str:
        return self._rows().digest()

    def _rows(self) -> DiskRows:
        hub = HubDataset(HUB, "train", revision=self.revision)
        return disk_rows(path=self.path, folder=HUB.rpartition("/")[2], hub=hub, columns=COLUMNS)

    def _picks(self, rows: DiskRows) -> Iterator[_Pick]:
        labels = row_labels(rows)
        # what `datasets.Dataset.shuffle(seed=42)` does to the whole raw set before anything is left out
        for row in numpy.random.default_rng(SHUFFLE_SEED).permutation(len(rows)).tolist():
            attempts = self._attempts(labels[row])
            if attempts:
                yield _Pick(row, attempts)

    def _attempts(self, labels: Labels | None) -> tuple[tuple[int, bool], ...]:
        """Places of the attempts that this part takes, with their labels; () leaves the problem out."""
        if labels is None:
            return ()
        if self.part == "all":
            return tuple(enumerate(labels))
        wanted = (True,) if self.part == "sft" else (True, False)
        if not set(wanted) <= set(labels):
            return ()
        return tuple((labels.index(label), label) for label in wanted)


def row_labels(rows: DiskRows) -> list[Labels | None]:
    """The labels of every row of the raw set, in its order; None for a row that is left out."""
    import pyarrow.compute

    correctness = rows.column("correctness").to_pylist()
    counts = pyarrow.compute.list_value_length(rows.column("generations")).to_pylist()
    texts = pyarrow.compute.utf8_length(pyarrow.compute.utf8_trim_whitespace(rows.column("problem"))).to_pylist()
    valid, sources = (rows.column(name).to_pylist() for name in ("problem_is_valid", "source"))
    return [
        _labels(labels or {}, count or 0)
        if (is_valid or "").strip().lower() == "yes" and source != LEFT_OUT_SOURCE and length
        else None
        for is_valid, source, length, count, labels in zip(valid, sources, texts, counts, correctness, strict=True)
    ]


def _labels(correctness: dict[str, list[bool | None] | None], count: int) -> Labels | None:
    """Both verifiers' labels as one, for each of `count` generations; None where one is missing."""
    columns = [correctness.get(verifier) or [] for verifier in VERIFIERS]
    if any(len(column) != count for column in columns):
        return None
    return tuple(all(labels) for labels in zip(*columns, strict=True))


class _Groups(Sequence[Group]):
    """The picked groups, each made from its row when it is asked for."""

    def __init__(self, rows: DiskRows, picks: Sequence[_Pick]) -> None:
        self.rows, self.picks = rows, picks

    def __len__(self) -> int:
        return len(self.picks)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> "_Groups": ...
    def __getitem__(self, index: int | slice) -> "Group | _Groups":
        if isinstance(index, slice):
            return _Groups(self.rows, self.picks[index])
        pick = self.picks[index]
        row = self.rows[pick.row]
        problem = Problem(
            id=f"openr1-math-{pick.row}",
            prompt=row.text("problem"),
            answer=row.answer("answer"),
            source="openr1_math",
            metadata={"source": row.value("source")},
        )
        attempts = tuple(_attempt(problem, row, place, is_correct) for place, is_correct in pick.attempts)
        return Group(problem=problem, trajectories=attempts)


def _attempt(problem: Problem, row: Row, place: int, is_correct: bool) -> Trajectory:
    text = row.value("generations")[place]
    if not isinstance(text, str):
        raise InputError(f"{row.where}, generation {place + 1}", f"is {text!r}", "give a text")
    verdict = Verdict(status=status_of(is_correct), method="dataset", detail="both verifiers" if is_correct else "")
    return teacher_trajectory(problem, dialogue(problem.prompt, text), model="deepseek-r1", verdict=verdict)
