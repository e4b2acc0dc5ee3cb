"""Formulas in TeX become MathML when the site is built, so that no script has to be loaded to read them."""

import re
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

# STIX Two Math: browsers need a font with a table of mathematics for brackets and sums that grow, and not every machine has one.
MATH_FONT = Path(find_spec("ziamath").origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"  # type: ignore[union-attr, arg-type]


def mathml(tex: str, *, block: bool) -> str:
    """One formula; a backslash that is left over means a command that the converter does not know."""
    found: str = convert(tex.strip(), display="block" if block else "inline")
    if "\\" in unescape(found):
        raise ValueError(f"formula {tex!r} has a command that latex2mathml does not know")
    return found


def formula_fence(source: str, language: str, css_class: str, options: Any, md: Any, **_: Any) -> str:
    """A fenced block of language `math`, which code hosts draw too."""
    return f'<div class="formula">{mathml(source, block=True)}</div>'


def with_mathml(html: str) -> str:
    """The spans that `pymdownx.arithmatex` leaves for `$...$`."""
    return re.sub(
        r'<span class="arithmatex">\\\((.+?)\\\)</span>',
        lambda found: mathml(unescape(found.group(1)), block=False),
        html,
        flags=re.DOTALL,
    )
