"""Questions as they are compared: one spelling for what differs only in typesetting, their words, and their numbers."""

import re
import unicodedata

_QUOTES_AND_DASHES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-"})
# Soft hyphens, zero-width and direction marks: with one between its digits a number would be two others.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\,|[\u2009\u202f])(?=\d{3}(?!\d))")
_LATEX = re.compile(
    r"(?P<space>\\\\|\\[!,;: ]|\\q?quad(?![a-z])|~)"
    r"|(?P<nothing>\\(?:left|right|displaystyle)(?![a-z])|\\[()\[\]]|\\?\$)"
    r"|(?P<fraction>\\[dt]frac(?![a-z]))"
)
_WRAPPED_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf)\s*\{([^{}\\]*)\}")
_SPACED_OPERATOR = re.compile(r"\s*([-+*/=<>^_|&,(){}\[\]])\s*")
_LOOSE_STOP = re.compile(r"\s+(?=[.;:!?])")
_AFTER_COMMAND = re.compile(r"(\\[a-z]+) (?![a-z])")
_LABEL = r"(?:problem|question|exercise|example|q)"
_PROBLEM_NUMBER = re.compile(
    rf"(?:\**\s*(?:{_LABEL}\s*\.?\s*#?\d+\s*[.:)]?|#?\d+\s*[.:)](?=\**\s)|\(\d+\)|\[\d+(?:\s+points?)?\])\**\s+)+"
)
_FIGURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_WORD = re.compile(r"[^\W_]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?=\[asy\])|(?<=\[/asy\])\s*")  # a figure stands by itself

_UNITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_UP_TO_NINETEEN = (
    *_UNITS, "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_UP_TO_NINETEEN, start=1)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
# "one" alone is more often a pronoun than a number.
_SPELLED = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})(?:[- ](?P<units>{'|'.join(_UNITS)})\b)?|(?P<small>{'|'.join(_UP_TO_NINETEEN[1:])}))\b"
)
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def normalized(text: str) -> str:
    r"""NFKC, lower case, one kind of quote, dash and thousands separator, single spaces, numbers up to ninety-nine in digits; no
    dollar signs, LaTeX spacing, invisible characters or problem number.

    Example:
        >>> normalized("Problem 12.  Find  $\\dfrac{1}{2} + x\\,$ for two.")
        'find \\frac{1}{2}+x for 2.'
    """
    text = _THOUSANDS.sub(",", _INVISIBLE.sub("", text))
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_QUOTES_AND_DASHES)
    text = _WRAPPED_TEXT.sub(r" \1 ", _LATEX.sub(_plain_latex, text))
    text = " ".join(text.split())
    text = text[len(numbered[0]) :] if (numbered := _PROBLEM_NUMBER.match(text)) else text
    text = _LOOSE_STOP.sub("", _AFTER_COMMAND.sub(r"\1", _SPACED_OPERATOR.sub(r"\1", text))).strip()
    return _SPELLED.sub(_in_digits, text)


def words(text: str) -> list[str]:
    """Runs of letters and digits of a normalised text; the code of a figure ([asy]...[/asy]) is not read as words."""
    return _WORD.findall(_FIGURE.sub(" ", text))


def numbers(text: str) -> tuple[str, ...]:
    """The numbers of a normalised text in order, each as it is counted: without commas and idle zeros.

    Example:
        >>> numbers("25 of 1,000 cost 3.50 and 2 cost 07")
        ('25', '1000', '3.5', '2', '7')
    """
    return tuple(map(_counted, _NUMBER.findall(text)))


def sentences_sorted(text: str) -> str:
    """The sentences of a normalised text in alphabetical order, so that their order does not count."""
    return " ".join(sorted(filter(None, _SENTENCE_END.split(text))))


def _plain_latex(found: re.Match[str]) -> str:
    return {"space": " ", "nothing": "", "fraction": r"\frac"}[str(found.lastgroup)]


def _in_digits(found: re.Match[str]) -> str:
    return str(sum(_VALUES[word] for word in found.group("tens", "units", "small") if word))


def _counted(number: str) -> str:
    whole, point, decimals = number.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (point + decimals if decimals else "")
