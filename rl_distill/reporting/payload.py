"""Data inside a page: JSON, compressed, as letters that HTML takes for text; the browser unpacks it when it is looked at."""

import base64
import gzip
import json
import math
from collections.abc import Mapping
from typing import Any

DIGITS = 5  # of a number that is drawn


def packed(data: Any) -> str:
    """JSON in gzip in base64. Numbers that are not finite become null, half letters of a sampled text stay as they are."""
    try:
        text = _json(data)
    except (ValueError, TypeError):  # rare, and to look at every number costs more than all else
        text = _json(_finite(data))
    return packed_text(text)


def packed_text(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode("ascii")


def rounded(value: float | None) -> float | None:
    """To five digits; what is not finite is None."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.{DIGITS}g}")


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
