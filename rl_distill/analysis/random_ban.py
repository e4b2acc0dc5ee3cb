"""The control for a ban: as many words of the same responses, by count, taken at random."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rl_distill.analysis.samples import Recorded
from rl_distill.analysis.token_classes import Matcher
from rl_distill.analysis.words import words
from rl_distill.errors import InputError
from rl_distill.seeding import addressed_seed

MARKUP = frozenset({"think", "boxed", "answer", "final"})  # without these no answer could be read
TOLERANCE = 0.05  # of the count to be matched


@dataclass(frozen=True, slots=True)
class RandomBan:
    """Words for `sampling.banned`.

    count   occurrences of these words in the responses
    target  occurrences of what is really banned
    """

    words: tuple[str, ...]
    count: int
    target: int


def random_ban(responses: Iterable[Recorded], banned: Sequence[str], seed: int) -> RandomBan:
    """Draw words that together occur as often as the banned ones, within 5 %: none of theirs, no digits, no answer markup.

    Args:
        banned: the words and phrases whose ban is the experiment.
        seed: another one draws other words.

    Raises:
        InputError: the banned words do not occur, or the others cannot be brought to their count.
    """
    matcher = Matcher(("banned", text) for text in banned)
    own = {word.text for text in banned for word in words(text)}
    counts: Counter[str] = Counter()
    target = 0
    for response in responses:
        counts.update(word.text for word in words(response.text))
        target += sum(1 for _ in matcher.find(response.text))
    if not target:
        raise InputError("banned", "none of these words occurs in the samples", "ban words that do")
    candidates = sorted(word for word in counts if word.isalpha() and word not in own | MARKUP)
    random.Random(addressed_seed(seed, "random ban")).shuffle(candidates)
    chosen: list[str] = []
    total = 0
    for word in candidates:
        if total >= (1 - TOLERANCE) * target:
            break
        if total + counts[word] <= (1 + TOLERANCE) * target:
            chosen.append(word)
            total += counts[word]
    if total < (1 - TOLERANCE) * target:
        problem = f"occur {target} times, and a random choice of the other words comes to {total}"
        raise InputError("banned", problem, "give samples with more words, another seed, or ban less")
    return RandomBan(tuple(chosen), total, target)
