"""An index that finds texts with much in common without comparing all with all. The door of datasketch.

MinHash (Broder, 1997) with banding (Mining of Massive Datasets, chapter 3). What it finds are candidates: most texts at or above
the threshold, and some below it. It depends on the texts alone, not on the order in which they come or on the process.
"""

from functools import cache
from importlib.util import find_spec
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from rl_distill.errors import InputError

NUM_PERMUTATIONS = 128  # the standard error of an estimated Jaccard similarity is at most 0.044
SHINGLE_CHARS = 5
LARGEST_THRESHOLD = 0.95  # of the index: so many permutations make too few bands for a larger one
_SEED = 1  # of the permutations: part of what a curated set is a function of


class NearTexts:
    """Sketches by number, found again by similarity.

    Args:
        jaccard: similarity from which a text should be found, in (0, 1); very large ones find some more, as candidates may be.

    Raises:
        InputError: datasketch is missing.
    """

    def __init__(self, jaccard: float) -> None:
        if find_spec("datasketch") is None:
            raise InputError("curation", "needs the library datasketch", "pip install 'rl_distill[curation]'")
        from datasketch import MinHashLSH

        self._index: Any = MinHashLSH(threshold=min(jaccard, LARGEST_THRESHOLD), num_perm=NUM_PERMUTATIONS)

    def add(self, number: int, sketched: Any) -> None:
        self._index.insert(number, sketched)

    def candidates(self, sketched: Any) -> list[int]:
        """Numbers of the texts added so far that are probably alike, ascending."""
        return sorted(self._index.query(sketched))


def sketch(text: str, key: str = "") -> Any:
    """The MinHash of a text's runs of 5 characters; the runs of two texts are compared by `sketch(one).jaccard(sketch(other))`.

    Args:
        key: texts under different keys have nothing in common, so that they are no candidates of each other.
    """
    found = _empty_sketch().copy()
    found.update_batch(_shingle_hashes(text))
    found.hashvalues ^= np.uint32(crc32(key.encode("utf-8", "surrogatepass")))
    return found


@cache
def _empty_sketch() -> Any:
    from datasketch import MinHash

    return MinHash(num_perm=NUM_PERMUTATIONS, seed=_SEED, hashfunc=int, scheme="affine32")


def _shingle_hashes(text: str) -> list[int]:
    """A 32-bit hash of each run of 5 characters; a shorter text is one run. Python's own hash differs between processes."""
    codes = np.frombuffer(text.ljust(SHINGLE_CHARS).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE_CHARS)
    mixed: NDArray[np.uint64] = (windows * _WEIGHTS).sum(axis=1, dtype=np.uint64) * _GOLDEN  # modulo 2**64
    hashes: list[int] = np.unique(mixed >> np.uint64(32)).tolist()
    return hashes


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, as in Knuth's multiplicative hashing
_WEIGHTS = np.array([pow(int(_GOLDEN), power, 2**64) for power in range(SHINGLE_CHARS)], dtype=np.uint64)
