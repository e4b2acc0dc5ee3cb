"""What moved between two checkpoints, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rl_distill.analysis.rates import shown
from rl_distill.markdown_table import markdown

SHOWN_WORDS = 12


def moved_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Changes are in nats a token, those of words in nats an occurrence."""
    moved = report["moved"]
    yield "## Moved tokens\n"
    yield f"Log-probs under {moved['second']} minus those under {moved['first']}, on {moved['traces']:,} traces."
    if moved["reencoded"]:
        yield f"Of {moved['reencoded']:,} only the text was recorded; it was encoded anew."
    if moved["too_long"]:
        yield f"{moved['too_long']:,} traces are longer than a model's context and left out."
    whole = {"all tokens": moved["per_token"], **moved["by_verdict"], **moved["by_class"]}
    rows = [(name, f"{one['tokens']:,}", shown(one["change"], 4)) for name, one in whole.items()]
    yield "\n" + markdown(("tokens", "count", "mean change"), rows) + "\n"
    rose, fell = (moved[side][:SHOWN_WORDS] for side in ("rose", "fell"))
    yield f"More likely\n\n{_words(rose)}\n\nLess likely\n\n{_words(fell)}\n"


def _words(words: Sequence[Mapping[str, Any]]) -> str:
    rows = [(f"`{one['word']}`", f"{one['count']:,}", f"{one['sum']:+.2f}", f"{one['mean']:+.4f}") for one in words]
    return markdown(("word", "count", "sum of changes", "mean"), rows) if rows else "None."
