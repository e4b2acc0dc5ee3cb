"""The page as one text: template, style, script, the charting library and the data, all inside."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from rl_distill.errors import InputError
from rl_distill.reporting.payload import packed_text

PARTS = Path(__file__).with_name("page")
SCRIPTS = (
    "unpacking.js",
    "elements.js",
    "charts.js",
    "overview.js",
    "curves.js",
    "measures.js",
    "differing.js",
    "attempts.js",
    "tabs.js",
)


def page_text(title: str, payloads: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        payloads: packed data by name; the script asks for it by that name.

    Raises:
        InputError: the charting library is not installed.
    """
    blocks = {"plotly": packed_text(charting_library()), **payloads}
    return Template(_part("page.html")).substitute(
        title=escape(title),
        style=_part("page.css"),
        script="\n".join(map(_part, SCRIPTS)),
        data="\n".join(f'<script type="text/plain" id="data-{escape(name)}">{text}</script>' for name, text in blocks.items()),
    )


def charting_library() -> str:
    """Plotly's own script, as its Python package brings it.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise InputError("report", "needs plotly, which is not installed", "pip install 'rl_distill[report]'") from None
    return str(get_plotlyjs())


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")
