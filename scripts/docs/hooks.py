"""What MkDocs calls while it builds the site: pages from files of the repository, tables from the code, formulas as MathML.

Pages lie in `docs/`. What they need beside their own words is made when the site is built: a comment `<!-- build: WHAT ... -->`
is followed by what a code host shows in its place, up to `<!-- end -->`, and the site shows what `blocks.py` makes of it.
"""

import re
from typing import Any

from blocks import filled
from formulas import MATH_FONT, formula_fence, with_mathml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from repository import Repository

_repository: list[Repository] = []


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A fence is a function, which YAML could name only if its module were installed."""
    fence = {"name": "math", "class": "formula", "format": formula_fence}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files of the repository that pages link to become pages of the site."""
    repository = Repository(config)
    _repository[:] = [repository]
    for file in repository.generated():
        files.append(file)
    files.append(File.generated(config, "assets/math.ttf", abs_src_path=str(MATH_FONT)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    return _repository[0].relinked(filled(markdown), page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Wide tables scroll inside a box of their own, so that a page never does."""
    html = re.sub(r"<table>.*?</table>", lambda found: f'<div class="wide">{found.group()}</div>', html, flags=re.DOTALL)
    return with_mathml(html)
