"""Links of pages lead to files, as on a code host; on the site the files are pages as well, and links lead to those."""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
PLACES = {  # files that have a page of their own in the navigation
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "experiments/README.md": "experiments/index.md",
    "experiments/LOG.md": "experiments/log.md",
    "scripts/launch/README.md": "guides/launch.md",
    **{
        path.relative_to(ROOT).as_posix(): f"experiments/{path.parent.name}.md"
        for path in sorted((ROOT / "experiments").glob("*/README.md"))
    },
}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".sh": "bash", ".sbatch": "bash", ".js": "javascript"}
PICTURES = {".png", ".svg"}
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)")


class Repository:
    """Which page or picture of the site stands for which file of the repository."""

    def __init__(self, config: MkDocsConfig) -> None:
        self._config = config
        docs = Path(config.docs_dir)
        own = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*") if path.is_file())
        self._pages = {f"docs/{name}": name for name in own} | PLACES
        waiting = [path for path in self._pages if path.endswith(".md")]
        while waiting:  # what is linked to becomes a page, and may link to others
            origin = waiting.pop()
            for target in self._targets(origin):
                if target not in self._pages:
                    self._pages[target] = f"files/{target}{'' if Path(target).suffix in {'.md', *PICTURES} else '.md'}"
                    waiting.append(target)
        self._origins = {page: path for path, page in self._pages.items()}

    def generated(self) -> Iterator[File]:
        """Pages and pictures that do not lie in `docs/`."""
        for path, page in self._pages.items():
            if path.startswith("docs/"):
                continue
            source = ROOT / path
            if source.suffix in PICTURES:
                yield File.generated(self._config, page, abs_src_path=str(source))
            else:
                yield File.generated(self._config, page, content=self._text(path))

    def relinked(self, markdown: str, page: str) -> str:
        """The page's links, which lead from file to file, as links from page to page."""
        origin = self._origins.get(page)
        if origin is None:
            return markdown

        def moved(link: str) -> str:
            target = _resolved(origin, link)
            if target is None:
                return link
            return posixpath.relpath(self._pages[target], posixpath.dirname(page) or ".")

        return "\n".join(
            line if code else _LINK.sub(lambda found: moved(found.group(1)), line) for line, code in _lines(markdown)
        )

    def _targets(self, path: str) -> Iterator[str]:
        """Files that a file's links lead to."""
        for line, code in _lines(self._text(path)):
            links = [] if code else _LINK.findall(line)
            yield from filter(None, (_resolved(path, link) for link in links))

    def _text(self, path: str) -> str:
        """The Markdown of a file: its own, or one that shows it."""
        source = ROOT / path
        if source.suffix == ".md":
            return source.read_text(encoding="utf-8")
        hidden = "---\nsearch:\n  exclude: true\n---\n"
        title = f"# `{path}`\n\n"
        if source.is_dir():
            names = sorted(one.name for one in source.iterdir() if one.is_dir() or one.suffix in {*LANGUAGES, ".md", ".ipynb"})
            names = [name for name in names if not name.startswith((".", "__"))]
            return hidden + title + "\n".join(f"- [{name}]({_below(path, name)})" for name in names) + "\n"
        if source.suffix == ".ipynb":
            return hidden + title + _notebook(source)
        if source.suffix in PICTURES:
            return ""
        text = source.read_text(encoding="utf-8").rstrip("\n")
        return f"{hidden}{title}````{LANGUAGES.get(source.suffix, 'text')}\n{text}\n````\n"


def _below(path: str, name: str) -> str:
    """How a folder's listing links to what is in it: like a link that stands beside the folder."""
    return f"{posixpath.basename(path)}/{name}"


def _resolved(origin: str, link: str) -> str | None:
    """The file that a link in a file leads to; None if it leaves the repository."""
    if re.match(r"[a-z]+:", link):
        return None
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    if target.startswith("..") or not (ROOT / target).exists():
        raise ValueError(f"{origin} links to {link}, which does not exist")
    return target


def _lines(markdown: str) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether it is code."""
    fence = ""
    for line in markdown.split("\n"):
        found = re.match(r"\s*(`{3,}|~{3,})", line)
        if found and not fence:
            fence = found.group(1)
            yield line, True
        elif fence:
            yield line, True
            fence = "" if line.strip() == fence else fence
        else:
            yield line, False


def _notebook(source: Path) -> str:
    """Cells of a notebook: text as it is, code as code."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join(text if kind == "markdown" else f"````python\n{text}\n````" for kind, text in texts) + "\n"
