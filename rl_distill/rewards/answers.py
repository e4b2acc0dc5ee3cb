"""Final answers as text: where a response states one (a box, a program), when two mean the same, when one is just a number."""

import re
import unicodedata
from decimal import Decimal

from rl_distill.text import last_boxed

_THINK_END = "</think>"

_FENCE = re.compile(r"```\s*(?P<label>[\w+.-]*)[^`]*")
_PYTHON = {"python", "python3", "py"}

_SPACING = re.compile(r"\\[!,;:]|\\q?quad(?![a-zA-Z])|~|\\ ")
_DECORATION = re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])")
_FRACTION = re.compile(r"\\[dt]frac(?![a-zA-Z])")
_WRAPPED_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf)\s*\{([^{}\\]*)\}")
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9}])\s+|\s+(?![A-Za-z0-9\\])")

_DIGIT = re.compile(r"\d")  # decimal digits of every script: no powers, no circled numbers, no ideographs
_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<digits>\d+|\d{1,3}(?:,\d{3})+)?(?P<decimals>\.\d*)?")


def boxed_answer(response: str) -> str | None:
    r"""The content of the last complete `\boxed{...}` of a response, or None.

    The part after the last `</think>` is searched first: what is said there is the answer, and what was boxed while thinking
    counts only if nothing is boxed afterwards. Nested boxes are one answer, the outer one.

    Example:
        >>> boxed_answer(r"so \boxed{3}, no, \boxed{\frac{1}{2}} and \boxed{7")
        '\\frac{1}{2}'
    """
    _, tag, conclusion = response.rpartition(_THINK_END)
    content = last_boxed(conclusion) if tag else None
    return content if content is not None else last_boxed(response)


def python_code(response: str) -> str | None:
    """The last fenced block that is labelled Python (the last without a label if none is), or None.

    As with a box, what follows the last `</think>` is searched first. A block that is never closed does not count.

    Example:
        >>> python_code("so:\\n```python\\nprint(1)\\n```\\nwhich prints\\n```\\n1\\n```")
        'print(1)\\n'
    """
    _, tag, conclusion = response.rpartition(_THINK_END)
    code = _last_code(conclusion) if tag else None
    return code if code is not None else _last_code(response)


def _last_code(text: str) -> str | None:
    found: dict[bool, str] = {}  # by whether it is labelled
    label, lines = None, list[str]()
    for line in text.splitlines(keepends=True):
        fence = _FENCE.fullmatch(line.strip())
        if fence is None:
            lines.append(line)
        elif label is None or fence["label"]:  # a label opens a block, even where the one before was never closed
            label, lines = fence["label"].lower(), []
        else:
            if label in _PYTHON or not label:
                found[bool(label)] = "".join(lines)
            label = None
    return found.get(True, found.get(False))


def ascii_digits(text: str) -> str:
    """The text with the decimal digits of any script (Arabic-Indic, Devanagari, full-width ...) written as 0 to 9.

    A power such as the one of a square meter is no decimal digit, and stays.
    """
    return text if text.isascii() else _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


def plain(text: str) -> str:
    r"""The answer inside `$...$` or a `\boxed{...}` of its own, as gold answers are often written; its digits in ASCII."""
    text = ascii_digits(text.strip())
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    for delimiter in ("$$", "$"):
        inner = text[len(delimiter) : -len(delimiter)]
        if len(text) > 2 * len(delimiter) and text == f"{delimiter}{inner}{delimiter}" and "$" not in inner:
            return inner.strip()
    return text


def normalized(answer: str) -> str:
    """One spelling for answers that differ only in typesetting; what may differ in meaning stays different.

    A space between letters or digits is kept, for `1 1/2` is not `11/2`.
    """
    text = _SPACING.sub(" ", plain(answer))
    text = _DECORATION.sub("", text)
    text = _FRACTION.sub(r"\\frac", text)
    text = _WRAPPED_TEXT.sub(r" \1 ", text).strip().removesuffix(".")
    return _LOOSE_SPACE.sub("", " ".join(text.split()))


def decimal(answer: str) -> tuple[Decimal, bool] | None:
    """A plain integer or decimal and whether it is a percentage; None for anything else.

    Thousands may be set off by commas in groups of three, a dollar sign may lead. `3,14` is refused: it may be a pair.

    Example:
        >>> decimal("$1,234.50"), decimal("50\\\\%"), decimal("1/2")
        ((Decimal('1234.50'), False), (Decimal('50'), True), None)
    """
    text = plain(answer).replace("{,}", ",").replace("\\!", "").replace("\\,", "").replace("\\$", "$").replace("\\%", "%")
    text = text.strip().removesuffix(".").strip()
    percent = text.endswith("%")
    text = text.removesuffix("%").strip()
    sign = text[:1] if text[:1] in ("+", "-") else ""
    match = _NUMBER.fullmatch(sign + text.removeprefix(sign).strip().removeprefix("$").strip().replace(", ", ","))
    if match is None or not match["digits"] and len(match["decimals"] or "") < 2 or not text.isascii():
        return None
    return Decimal(match[0].replace(",", "")), percent
