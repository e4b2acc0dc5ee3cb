"""A long text as parts that overlap, cut where paragraphs end."""

from collections.abc import Iterator


def parts(text: str, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    r"""[start, end) of parts of at most `size` characters that cover the text; each begins up to `overlap` before the last ended.

    A part ends at the last paragraph border that it can reach, or else at a line, or at a space, or in the middle of a word.

    Example:
        >>> list(parts("aaaa\n\nbbbb\n\ncccc", 12, 6))
        [(0, 12), (6, 16)]
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap: {overlap} is not in 0..{size - 1}; give less than the size of a part")
    start = 0
    while True:
        end = _border(text, start + overlap + 1, start + size)
        yield start, end
        if end >= len(text):
            return
        start = _begin(text, max(start + 1, end - overlap), end)


def _border(text: str, low: int, high: int) -> int:
    """The best place in [low, high] to end a part."""
    if high >= len(text):
        return len(text)
    for mark in ("\n\n", "\n", " "):
        place = text.rfind(mark, low, high)
        if place >= 0 and place + len(mark) <= high:
            return place + len(mark)
    return high


def _begin(text: str, low: int, end: int) -> int:
    """Where in [low, end] the next part begins: at a paragraph, a line or a word if one begins there."""
    for mark in ("\n\n", "\n", " "):
        place = text.find(mark, max(0, low - len(mark)), end)
        if place >= 0 and low <= place + len(mark) <= end:
            return place + len(mark)
    return low
