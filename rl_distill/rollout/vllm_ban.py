"""How banned words travel to vLLM's processes: the words with each request, the vocabulary once, in a file."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_distill.rollout.token_ban import VocabularyBans

PROCESSOR = "rl_distill.rollout.vllm_ban_processor:BannedWords"
BANNED, PIECES = "rl_distill_banned", "rl_distill_pieces"  # keys of a request's extra arguments


class BanRequests:
    """Extra arguments of requests; the file is written when the first one bans a word, and lasts until `close`."""

    def __init__(self, tokenizer: Any) -> None:
        self._vocabulary = VocabularyBans(tokenizer)
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def arguments(self, banned: tuple[str, ...]) -> dict[str, Any] | None:
        """None where nothing is banned.

        Raises:
            InputError: no tokens spell a word, or the ban would leave none to sample.
        """
        if self._vocabulary.ban(banned) is None:
            return None
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rl_distill_ban_")
            _write_pieces(self._vocabulary.pieces, self._path)
        return {BANNED: list(banned), PIECES: str(self._path)}

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def _path(self) -> Path:
        assert self._folder is not None, "made with the first banned word"
        return Path(self._folder.name) / "pieces.json"


def read_pieces(path: str) -> list[bytes | None]:
    return [None if piece is None else piece.encode("latin-1") for piece in json.loads(Path(path).read_text())]


def _write_pieces(pieces: Sequence[bytes | None], path: Path) -> None:
    path.write_text(json.dumps([None if piece is None else piece.decode("latin-1") for piece in pieces]))
