"""Results as pandas frames, for notebooks; pandas is loaded when the first one is asked for."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rl_distill.errors import InputError

if TYPE_CHECKING:
    import pandas


def frame(rows: Iterable[Mapping[str, Any]], index: str | None = None) -> "pandas.DataFrame":
    """A row for each mapping.

    Args:
        index: the column that names the rows.

    Raises:
        InputError: pandas is not installed.
    """
    found = pandas_library().DataFrame(list(rows))
    return found.set_index(index) if index is not None and len(found) else found


def pandas_library() -> Any:
    try:
        import pandas
    except ImportError:
        raise InputError("pandas", "is not installed", "pip install 'rl_distill[notebooks]'") from None
    return pandas
