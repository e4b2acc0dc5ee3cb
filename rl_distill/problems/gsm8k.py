"""GSM8K (arXiv:2110.14168): grade-school word problems with human solutions, and four models' graded answers to its test set."""

import re
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.base import dialogue, status_of, teacher_trajectory
from rl_distill.problems.row_set import RowSet
from rl_distill.problems.rows import HubDataset, Row
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group, Problem, Trajectory, Verdict

HELD_OUT_ONE_IN = 5
PUBLISHED_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")

_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
_HUMAN_ANSWER = re.compile(r"\n?####[ \t]*(?P<answer>[^\n]+)\s*\Z")
_MODEL_ANSWER = re.compile(r"(?:\A|\n)A:[ \t]*(?P<answer>[^\n]+)\s*\Z")


@config
class _Gsm8kRows(RowSet):
    calculator: bool = setting(
        True, about="keep the calculator annotations such as <<48/2=24>> in the solutions", source="arXiv:2110.14168"
    )

    def response(self, steps: str, answer: str | None) -> str:
        """The steps, then a last line with the boxed answer (None: the steps break off without one)."""
        lines = [steps if self.calculator else _ANNOTATION.sub("", steps)] if steps else []
        return "\n".join(lines if answer is None else [*lines, f"\\boxed{{{_plain_number(answer)}}}"])


@config
class Gsm8k(_Gsm8kRows):
    """The problems, each with its human solution as a correct teacher trajectory."""

    name: Literal["gsm8k"] = "gsm8k"
    split: Literal["train", "test"] = setting("train", about="7,473 training or 1,319 test problems")
    revision: str | None = setting(None, about="hub commit or tag to load; none takes the newest")

    @property
    def file(self) -> str:
        return f"gsm8k_{self.split}.jsonl"

    @property
    def hub(self) -> HubDataset:
        return HubDataset("openai/gsm8k", self.split, subset="main", revision=self.revision)

    def group(self, row: Row, index: int) -> Group:
        steps, gold = _split_answer(row, "answer", _HUMAN_ANSWER, "a last line '#### gold'")
        prompt = row.text("question")
        problem = Problem(id=f"gsm8k-{self.split}-{index}", prompt=prompt, answer=_plain_number(gold), source="gsm8k")
        solution = teacher_trajectory(
            problem,
            dialogue(prompt, self.response(steps, gold)),
            model="human",
            verdict=Verdict(status="correct", method="dataset"),
        )
        return Group(problem=problem, trajectories=(solution,))


@config
class Gsm8kSolutions(_Gsm8kRows):
    """Graded answers of four language models to 900 GSM8K test problems: real positives and negatives of the same problem.

    Published with the data set's repository (openai/grade-school-math), not on the hub, as `example_model_solutions.jsonl`. That
    file is read as it is (a column for each model), and so are rows with an `id` and a list of `solutions`. Problems keep the ids
    of `gsm8k`'s test split; one in five is held out, by its id.
    """

    name: Literal["gsm8k_solutions"] = "gsm8k_solutions"
    part: Literal["train", "heldout", "all"] = setting(
        "all", about="four in five problems to train on, the others to evaluate on, or both"
    )

    @property
    def file(self) -> str:
        return "gsm8k_model_solutions.jsonl"

    def group(self, row: Row, index: int) -> Group | None:
        identifier = row.text("id") if "id" in row.values else f"gsm8k-test-{index}"
        held_out = addressed_seed("gsm8k solutions held out", identifier) % HELD_OUT_ONE_IN == 0
        if self.part != "all" and held_out != (self.part == "heldout"):
            return None
        _, gold = _split_answer(row, "ground_truth", _MODEL_ANSWER, "a last line 'A: gold'")
        problem = Problem(id=identifier, prompt=row.text("question"), answer=_plain_number(gold), source="gsm8k")
        return Group(problem=problem, trajectories=tuple(self._trajectory(problem, solution) for solution in _solutions(row)))

    def _trajectory(self, problem: Problem, solution: Row) -> Trajectory:
        """One graded solution; a text without a last line "A: x" broke off at the model's length limit and stays as it is."""
        text, correct = solution.text("text"), solution.value("is_correct")
        if not isinstance(correct, bool):
            raise InputError(f"{solution.where}, 'is_correct'", f"is {correct!r}", "give true or false")
        found = _MODEL_ANSWER.search(text)
        response = self.response(text[: found.start()], found["answer"]) if found else self.response(text, None)
        return teacher_trajectory(
            problem,
            dialogue(problem.prompt, response),
            model=solution.text("model"),
            verdict=Verdict(status=status_of(correct), method="dataset", detail="" if found else "no answer"),
            finish_reason="stop" if found else "length",
        )


def _solutions(row: Row) -> list[Row]:
    """The solutions of a row, each with `model`, `text` and `is_correct`."""
    columns = [
        (model, Row(row.values[model], f"{row.where}, column {model!r}")) for model in PUBLISHED_MODELS if model in row.values
    ]
    if columns:
        return [
            Row({"model": model, "text": found.value("solution"), "is_correct": found.value("is_correct")}, found.where)
            for model, found in columns
        ]
    solutions = row.value("solutions")
    if not isinstance(solutions, list):
        raise InputError(f"{row.where}, column 'solutions'", f"is a {type(solutions).__name__}", "give a list of solutions")
    return [Row(values, f"{row.where}, solution {number}") for number, values in enumerate(solutions, start=1)]


def _split_answer(row: Row, column: str, pattern: re.Pattern[str], expected: str) -> tuple[str, str]:
    text = row.text(column)
    found = pattern.search(text)
    if found is None:
        raise InputError(f"{row.where}, column {column!r}", f"ends in {text[-40:]!r}", f"give {expected}")
    return text[: found.start()], found["answer"]


def _plain_number(text: str) -> str:
    """
    Example:
        >>> _plain_number(" $1,080 ")
        '1080'
    """
    return text.replace(",", "").replace("$", "").strip()
