"""The twelve claims: what a verdict is, how a rate is chosen, what a random ban strikes out, and the committed table."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "claims"
SEEDS = 5


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The scripts beside the recipes import each other by name, as `python experiments/claims/run.py` lets them."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    import claims  # noqa: PLC0415

    yield claims
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("differences", "bound", "below", "verdict"),
    [
        ([0.10, 0.11, 0.09, 0.10, 0.12], 0.0, False, "holds"),
        ([-0.10, -0.11, -0.09, -0.10, -0.12], 0.0, False, "does not hold"),
        ([0.10, -0.11, 0.09, -0.10, 0.02], 0.0, False, "cannot be separated"),
        ([0.10, 0.11, 0.09, 0.10, 0.12], 0.0, True, "does not hold"),
        ([-0.01, -0.012, -0.008, -0.01, -0.01], -0.02, False, "holds"),  # loses no more than .02
        ([-0.03, -0.032, -0.028, -0.03, -0.03], -0.02, False, "does not hold"),
        ([0.4, 0.5, 0.45, 0.4, 0.5], 1.0, True, "holds"),  # rises by no more than 1
    ],
)
def test_a_verdict_is_the_side_of_the_bound_on_which_the_whole_interval_lies(
    claims: ModuleType, differences: list[float], bound: float, below: bool, verdict: str
) -> None:
    import verdicts  # noqa: PLC0415

    values = {"arm": [1 + difference for difference in differences], "than": [1.0] * len(differences)}
    assert verdicts.judged([claims.Statement("arm", "than", bound=bound, below=below)], values)[0] == verdict


def test_all_statements_of_a_claim_have_to_hold(claims: ModuleType) -> None:
    import verdicts  # noqa: PLC0415

    values = {"a": [0.5, 0.51, 0.52], "b": [0.1, 0.11, 0.12], "c": [0.4, 0.6, 0.5]}
    holds, unclear, fails = (claims.Statement(*pair) for pair in (("a", "b"), ("a", "c"), ("b", "a")))
    found = [verdicts.judged(both, values)[0] for both in ([holds], [holds, unclear], [holds, unclear, fails])]
    assert found == ["holds", "cannot be separated", "does not hold"]


def test_a_rate_is_chosen_on_even_problems_and_compared_on_odd_ones(claims: ModuleType, tmp_path: Path) -> None:
    import measured  # noqa: PLC0415

    for stage, even, odd in (("slow", 0.6, 0.1), ("fast", 0.4, 0.9)):
        for seed in range(2):
            folder = tmp_path / f"recipe-{seed}" / "stages" / stage
            folder.mkdir(parents=True)
            accuracy = {"heldout-0-0": even, "heldout-0-1": odd, "heldout-0-2": even, "heldout-0-3": odd}
            (folder / "result.json").write_text(json.dumps({"evaluation": {"problem_accuracy": accuracy}}))
    runs = measured.Runs(tmp_path, (0, 1))
    assert runs.best("recipe", ("fast", "slow")) == "slow"
    assert claims.best("recipe", ("fast", "slow"))(runs, 1) == pytest.approx(0.1)
    assert len(runs.read) == 4, "every file that a choice rests on is told"


@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_a_random_ban_strikes_out_as_many_words_as_it_is_asked_to(claims: ModuleType, count: int) -> None:
    import bans  # noqa: PLC0415

    texts = [f"<think> {left} + {left + 1} = {2 * left + 1} </think> \\boxed{{{2 * left + 1}}}" for left in range(30)]
    drawn = bans.as_many(texts, count, seed=3)
    struck = sum(word in ban for text, ban in zip(texts, drawn, strict=True) for word in bans.words(text))
    assert count <= struck <= count + 2
    assert drawn != bans.as_many(texts, count, seed=4) or not count


def test_the_committed_table_follows_from_the_committed_numbers(claims: ModuleType) -> None:
    import verdicts  # noqa: PLC0415

    said = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    recorded = {entry["claim"]: entry for entry in json.loads((FOLDER / "claims.json").read_text(encoding="utf-8"))}
    assert list(recorded) == [claim.name for claim in claims.CLAIMS]
    for claim in claims.CLAIMS:
        entry = recorded[claim.name]
        assert list(entry["arms"]) == list(claim.arms), claim.name
        assert all(len(values) == len(entry["seeds"]) == SEEDS for values in entry["arms"].values()), claim.name
        verdict, differences = verdicts.judged(claim.statements, entry["arms"])
        told = "; ".join(f"{one.arm} - {one.than} {found}" for one, found in zip(claim.statements, differences, strict=True))
        assert f"| {verdict} | {told} |" in said, claim.name
        assert entry["verdict"] == verdict and entry["files"], claim.name
