"""Which libraries are installed, and whether in a version that this package is written for; told without importing them."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.version import Version

from rl_distill.errors import InputError

PACKAGE = "rl_distill"


@dataclass(frozen=True, slots=True)
class Library:
    """A library as the package's metadata asks for it.

    found  its installed version, or None
    """

    wanted: Requirement
    found: str | None

    @property
    def fits(self) -> bool:
        return self.found is not None and self.wanted.specifier.contains(Version(self.found).public, prereleases=True)

    def __str__(self) -> str:
        return f"{self.wanted.name} {self.found or '(not installed)'}" + ("" if self.fits else f" (wanted: {self.wanted})")


def libraries(extra: str = "") -> list[Library]:
    """What the package needs always, or for one of its extras.

    Raises:
        InputError: the package itself is not installed, so nothing says what it needs.
    """
    return [Library(wanted, installed(wanted.name)) for wanted in _requirements(extra)]


def installed(name: str) -> str | None:
    """The version of a distribution that is here."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_cluster_libraries() -> None:
    """
    Raises:
        InputError: Ray or DeepSpeed is missing, or older than what this package is written for.
    """
    remedy = f"run pip install '{PACKAGE}[cluster]', or set cluster.name to local"
    for library in libraries("cluster"):
        name = library.wanted.name
        if library.found is None or find_spec(name) is None:
            raise InputError("cluster.name", f"is 'ray', but {name} is not installed", remedy)
        if not library.fits:
            raise InputError(
                "cluster.name", f"is 'ray', but {name} is {library.found} and must be {name}{library.wanted.specifier}", remedy
            )


def _requirements(extra: str) -> Iterator[Requirement]:
    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:
        raise InputError(PACKAGE, "is not installed here, only its files are", "run pip install -e . in its folder") from None
    for wanted in map(Requirement, lines):
        always = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if always != bool(extra) and (always or (wanted.marker is not None and wanted.marker.evaluate({"extra": extra}))):
            yield wanted
