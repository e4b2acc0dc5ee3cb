"""The twelve claims: which arms each compares, and what has to be seen for it to hold. Written down before the runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from measured import Runs, words

Arm = Callable[[Runs, int], float]

FLEXIBLE = ("is", "yes", "no")  # the words in which the reflective teacher looks again


def rated(name: str, *rates: str) -> tuple[str, ...]:
    """The stages that differ in their learning rate alone."""
    return tuple(f"{name}_{rate}" for rate in rates)


REDI, DPO, SIMPO = (rated(name, "3e5", "1e4", "3e4") for name in ("redi", "dpo", "simpo"))
GRPO = rated("grpo", "1e4", "3e4", "1e3", "3e3")
STRONG, STRONG_FLOPS, HABITUAL = (rated(name, "3e4", "1e3", "3e3") for name in ("sft_strong", "sft_strong_flops", "sft_habitual"))


@dataclass(frozen=True, slots=True)
class Statement:
    """`arm` minus `than`, a mean over seeds, lies above `bound`; or below it."""

    arm: str
    than: str
    bound: float = 0.0
    below: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """
    name        of its figure
    arms        what a seed's runs give for each arm, in the unit of `measure`
    statements  all of them have to be seen
    """

    name: str
    text: str
    source: str
    arms: Mapping[str, Arm]
    statements: tuple[Statement, ...]
    measure: str = "held-out accuracy"


def accuracy(recipe: str, stage: str) -> Arm:
    return lambda runs, seed: runs.accuracy(recipe, stage, seed)


def best(recipe: str, stages: tuple[str, ...]) -> Arm:
    """On the test half, at the rate that was best on the validation half."""
    return lambda runs, seed: runs.accuracy(recipe, runs.best(recipe, stages), seed, "test")


def pass_at_16(recipe: str, stage: str) -> Arm:
    return lambda runs, seed: runs.pass_at(16, recipe, stage, seed)


def flexible_words(recipe: str, stage: str) -> Arm:
    """Flexible words in a thousand words and signs of the answers."""

    def counted(runs: Runs, seed: int) -> float:
        told = [word for row in runs.answers(recipe, stage, seed) for word in words(row["response"])]
        return 1000 * sum(word in FLEXIBLE for word in told) / len(told)

    return counted


def banned(name: str) -> Arm:
    return lambda runs, seed: runs.ban(name, seed)


REDI_PAPER = "arXiv:2505.24850"
FLEXIBLE_PAPER = "arXiv:2505.21067"
TEST_HALF = "held-out accuracy, test half"

CLAIMS = (
    Claim(
        name="redi_over_sft",
        text="REDI is above the SFT it starts from",
        source=f"{REDI_PAPER}, table 2",
        arms={
            "SFT": accuracy("redi", "base"),
            "REDI": accuracy("redi", "redi"),
            "more positives (α 0)": accuracy("redi", "redi_alpha0"),
        },
        statements=(Statement("REDI", "SFT"), Statement("REDI", "more positives (α 0)")),
    ),
    Claim(
        name="redi_over_preferences",
        text="REDI is above DPO and SimPO, each at its best rate",
        source=f"{REDI_PAPER}, table 2",
        arms={
            "SFT": lambda runs, seed: runs.accuracy("preferences", "base", seed, "test"),
            "REDI": best("preferences", REDI),
            "DPO": best("preferences", DPO),
            "SimPO": best("preferences", SIMPO),
        },
        statements=(Statement("REDI", "DPO"), Statement("REDI", "SimPO")),
        measure=TEST_HALF,
    ),
    Claim(
        name="alpha_08_over_1",
        text="α 0.8 is better than α 1",
        source=f"{REDI_PAPER}, table 2",
        arms={
            f"α {name}": accuracy("alpha", stage)
            for name, stage in zip(("0.2", "0.5", "0.8", "1"), ("alpha_02", "alpha_05", "alpha_08", "alpha_10"), strict=True)
        },
        statements=(Statement("α 0.8", "α 1"),),
    ),
    Claim(
        name="alpha_1_collapses",
        text="α 1 collapses at a high rate: it ends below its own start",
        source=f"{REDI_PAPER}, figure 3",
        arms={
            "SFT": accuracy("collapse", "base"),
            "α 0.8, rate 5e-4": accuracy("collapse", "alpha_08_high"),
            "α 1, rate 5e-4": accuracy("collapse", "alpha_10_high"),
        },
        statements=(Statement("α 1, rate 5e-4", "SFT", below=True), Statement("α 1, rate 5e-4", "α 0.8, rate 5e-4", below=True)),
    ),
    Claim(
        name="pass_at_k_kept",
        text="REDI keeps pass@16 (loses no more than .02)",
        source=f"{REDI_PAPER}, table 3",
        arms={"SFT": pass_at_16("pass_at_k", "base"), "REDI": pass_at_16("pass_at_k", "redi")},
        statements=(Statement("REDI", "SFT", bound=-0.02),),
        measure="pass@16",
    ),
    Claim(
        name="distillation_over_zero_rl",
        text="distillation is above zero-RL at equal student tokens",
        source=FLEXIBLE_PAPER,
        arms={
            "zero-RL": best("zero_rl", GRPO),
            "SFT, strong teacher": best("zero_rl", STRONG),
            "SFT, habitual teacher": best("zero_rl", HABITUAL),
        },
        statements=(Statement("SFT, strong teacher", "zero-RL"),),
        measure=TEST_HALF,
    ),
    Claim(
        name="equal_flops",
        text="so it is at equal FLOPs of teacher and student",
        source="an objection of the reviewers of " + FLEXIBLE_PAPER,
        arms={"zero-RL": best("zero_rl", GRPO), "SFT, strong teacher": best("zero_rl", STRONG_FLOPS)},
        statements=(Statement("SFT, strong teacher", "zero-RL"),),
        measure=TEST_HALF,
    ),
    Claim(
        name="data_size",
        text="more traces help: 920 are above 100",
        source=f"{FLEXIBLE_PAPER}, a curve that its reviewers missed",
        arms={f"{count}": accuracy("data_size", f"sft_{count}") for count in (100, 250, 500, 920)},
        statements=(Statement("920", "100"),),
    ),
    Claim(
        name="filtering",
        text="wrong traces may stay: unfiltered loses no more than .02",
        source=f"{FLEXIBLE_PAPER}, which screens nothing",
        arms={
            "filtered": accuracy("filtering", "filtered"),
            "unfiltered": accuracy("filtering", "unfiltered"),
            "unfiltered, as many steps": accuracy("filtering", "unfiltered_as_long"),
        },
        statements=(Statement("unfiltered", "filtered", bound=-0.02),),
    ),
    Claim(
        name="flexible_words",
        text="flexible words rise with distillation and not with zero-RL (by no more than 1 in 1,000)",
        source=f"{FLEXIBLE_PAPER}, figures 1 to 3",
        arms={
            "base": flexible_words("flexible", "base"),
            "SFT, reflective teacher": flexible_words("flexible", "sft_reflective"),
            "SFT, habitual teacher": flexible_words("flexible", "sft_plain"),
            "zero-RL": flexible_words("flexible", "grpo"),
        },
        statements=(Statement("SFT, reflective teacher", "base"), Statement("zero-RL", "base", bound=1.0, below=True)),
        measure="flexible words in 1,000",
    ),
    Claim(
        name="banning",
        text="forbidding those words costs little: no more than .05",
        source=f"{FLEXIBLE_PAPER}, table 3",
        arms={
            "nothing forbidden": banned("nothing"),
            "flexible words forbidden": banned("flexible"),
            "as many others forbidden": banned("random"),
            "SFT, habitual teacher": accuracy("flexible", "sft_plain"),
        },
        statements=(Statement("flexible words forbidden", "nothing forbidden", bound=-0.05),),
    ),
    Claim(
        name="rl_after_distillation",
        text="RL after distillation adds, to it and to RL alone",
        source=f"{FLEXIBLE_PAPER}, which leaves it open",
        arms={
            "SFT": lambda runs, seed: runs.accuracy("rl_after", "sft", seed, "test"),
            "zero-RL": best("rl_after", rated("grpo", "3e4", "1e3")),
            "SFT, then RL": best("rl_after", rated("sft_grpo", "3e4", "1e3")),
            "SFT, equal FLOPs": lambda runs, seed: runs.accuracy("rl_after", "sft_long", seed, "test"),
            "zero-RL, equal FLOPs": best("rl_after", rated("grpo_long", "3e4", "1e3")),
        },
        measure=TEST_HALF,
        statements=tuple(
            Statement("SFT, then RL", other) for other in ("SFT", "zero-RL", "SFT, equal FLOPs", "zero-RL, equal FLOPs")
        ),
    ),
)
