"""The control of `arithmetic`: ten other wordings of the same question, which ask for no explanation."""

from collections.abc import Callable
from random import Random

from rl_distill.problems.arithmetic_chain import Chain
from rl_distill.problems.arithmetic_probes import Maker, Probe
from rl_distill.problems.arithmetic_teacher import Habits, attempt


def _rephrased(kind: str, wording: Callable[[Chain], str]) -> Maker:
    def ask(chain: Chain, habits: Habits, rng: Random) -> Probe:
        return Probe(kind, wording(chain), str(chain.result), attempt(chain, habits, rng))

    return ask


def _joined(chain: Chain, mark: str) -> str:
    """Start and operands with a mark before each operand."""
    return chain.text.replace(" + ", f" {mark} + ").replace(" - ", f" {mark} - ")


def _start_last(chain: Chain) -> str:
    operations = chain.text.split(" ", 1)[1]
    return f"{operations} . first = {chain.start} ?"


REPHRASINGS: dict[str, Maker] = {
    kind: _rephrased(kind, wording)
    for kind, wording in {
        "turned": lambda chain: f"? = {chain.text}",
        "bare": lambda chain: f"{chain.text} ?",
        "is_what": lambda chain: f"is {chain.text} = ?",
        "first": lambda chain: f"first {chain.text} = ?",
        "plain": lambda chain: f"plain {chain.text} = ?",
        "colon": lambda chain: f": {chain.text} = ?",
        "after": lambda chain: f"{chain.text} . after ?",
        "stops": lambda chain: f"{_joined(chain, '.')} = ?",
        "semicolons": lambda chain: f"{_joined(chain, ';')} = ?",
        "start_last": _start_last,
    }.items()
}
