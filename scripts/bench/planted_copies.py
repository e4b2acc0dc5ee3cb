"""Copies of questions as they turn up in other collections, made on purpose: what finds them is measured by kind.

A kind is a function (question, random) -> edited question, or None where the question has nothing to edit that way. `COPIES`
still ask the same; `VARIANTS` ask something else, in nearly the same words.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Problem

Edit = Callable[[str, Random], str | None]

NAMES = ("Ottilie", "Bartholomew", "Kwame", "Yuki", "Ines", "Tariq", "Oksana", "Leandro", "Priya", "Halvard")
SYNONYMS = {
    "how many": "what number of", "how much": "what amount of", "each": "every", "total": "overall number", "find": "determine",
    "buys": "purchases", "bought": "purchased", "gets": "receives", "wants": "would like", "children": "kids",
    "makes": "produces",
    "compute": "work out", "more than": "above", "after": "following", "has": "owns", "there are": "we have", "let": "suppose",
    "what is": "give", "every day": "daily", "needs": "requires", "spends": "pays", "all": "the whole of the",
    "such that": "so that",
    "then": "afterwards", "if": "provided that", "earns": "is paid", "left": "remaining", "costs": "is priced at",
    "per": "for each",
}  # fmt: skip
SPELLED = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
# What can be measured without data: word problems, and a few with formulas, each with its answer.
WRITTEN = tuple(
    Problem(id=f"written-{number}", prompt=" ".join(prompt.split()), answer=answer, source="written")
    for number, (answer, prompt) in enumerate(
        {
            "36": """A bakery bakes 48 loaves in the morning. In the afternoon Marta bakes 17 loaves more. At noon 29
                loaves are sold to a hotel. How many loaves are left for the shop?""",
            "60": """Pavel reads 14 pages of his book every day. His sister Lena reads 9 pages of hers. After 12 days
                both put their books away. How many pages more than Lena has Pavel read then?""",
            "158": """A tram has 5 cars. Each car has 36 seats. On Monday there are 22 empty seats in the whole tram. How
                many seats are taken on Monday?""",
            "93": """The gardener Tomas plants tulips in 7 rows. There are 15 tulips in each row. A storm breaks 18 of
                them, and Tomas buys 6 new ones. How many tulips stand in the garden after that?""",
            "55": """A bottle holds 750 millilitres of juice. Ines fills 4 glasses of 160 millilitres each. What is left
                she shares between her 2 children, such that both get the same. How many millilitres does each child
                get?""",
            "14": """Let $a$ and $b$ be positive integers such that $3a + 5b = 47$ and $a - b = 5$. Find the value of $a
                + 2b$, if it is an integer, and give it in lowest terms.""",
            "27": """A rectangle has sides of length $\\frac{9}{2}$ and $8$. A square with side $3$ is cut from one of
                its corners. What is the area that is left of the rectangle?""",
            "120": """Yusuf saves 35 dollars each month. He started with 120 dollars in January. In the month of June he
                buys a bicycle for 210 dollars. How many dollars has he left at the end of June, if he saved 6
                times?""",
        }.items()
    )
)
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\d)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def exact(text: str, random: Random) -> str:
    return text


def typos(text: str, random: Random) -> str | None:
    """Two letters changed places, or one is missing or doubled, in one of twenty words and in two at least."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if len(long) < 2:
        return None
    for place in random.sample(long, min(len(long), max(2, len(words) // 20))):
        word, at = words[place], random.randrange(1, len(words[place]) - 1)
        words[place] = random.choice(
            (word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:], word[:at] + word[at + 1] + word[at] + word[at + 2 :])
        )
    return " ".join(words)


def renumbered(text: str, random: Random) -> str:
    return random.choice(("Problem {}. ", "{}) ", "Q{}: ", "**Question {}** ", "({}) ")).format(random.randrange(1, 300)) + text


def spacing(text: str, random: Random) -> str:
    """Other dollars, quotes, thin spaces, \\dfrac and \\left, and white space that means nothing."""
    text = (
        text.replace("'", "’").replace("\\frac", "\\dfrac").replace("\\cdot", "\\cdot\\,").replace("  ", " ").replace(" ", "  ")
    )
    text = re.sub(r"(?<![\\$])\$([^$\\]*)\$(?!\$)", r"\\(\1\\)", text)
    return re.sub(r"(?<=[0-9a-z)])([=+])(?=[0-9a-z(])", r" \1 ", text).replace("\\left", "")


def reordered(text: str, random: Random) -> str | None:
    """The sentences before the last one, which asks, in another order."""
    *told, asked = _SENTENCE_END.split(text)
    if len(told) < 2:
        return None
    while (shuffled := random.sample(told, len(told))) == told and len(set(told)) > 1:
        pass
    return " ".join([*shuffled, asked])


def renamed(text: str, random: Random) -> str | None:
    """Other people: words with a capital inside a sentence, and wherever else they stand."""
    found = dict.fromkeys(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}", text))
    if not found:
        return None
    others = dict(zip(found, random.sample(NAMES, min(len(found), len(NAMES))), strict=False))
    return re.sub(r"\b[A-Z][a-z]{2,}", lambda word: others.get(word[0], word[0]), text)


def reworded(text: str, random: Random) -> str | None:
    """Synonyms wherever the table has one, at least two."""
    table = re.compile(rf"\b(?:{'|'.join(SYNONYMS)})\b", re.IGNORECASE)
    edited, times = table.subn(lambda word: SYNONYMS[word[0].lower()], text)
    return edited if times >= 2 else None


def spelled(text: str, random: Random) -> str | None:
    """Numbers from two to twelve in words."""
    edited, times = re.subn(r"(?<= )(?:[2-9]|1[0-2])(?= [a-z])", lambda number: SPELLED[int(number[0]) - 2], text)
    return edited if times else None


def quoted(text: str, random: Random) -> str:
    """Inside a longer request."""
    return f"Here is a question from my worksheet. {text} Please explain each step, and give the final answer in a box."


def one_number(text: str, random: Random) -> str | None:
    """One number is another one."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    chosen = random.choice(found)
    return text[: chosen.start()] + _other(chosen[0], random) + text[chosen.end() :]


def all_numbers(text: str, random: Random) -> str | None:
    """Every number is another one, the same for the same."""
    others = {number: _other(number, random) for number in dict.fromkeys(_NUMBER.findall(text))}
    return _NUMBER.sub(lambda number: others[number[0]], text) if len(others) >= 2 else None


COPIES: Mapping[str, Edit] = {
    "exact": exact, "renumbered": renumbered, "spacing": spacing, "typos": typos, "reordered": reordered, "renamed": renamed,
    "spelled": spelled, "quoted": quoted, "reworded": reworded,
}  # fmt: skip
VARIANTS: Mapping[str, Edit] = {"one_number": one_number, "all_numbers": all_numbers}


def planted(problems: Sequence[Problem], kind: str, seed: int = 0) -> Iterator[tuple[Problem, Problem]]:
    """Each problem that can be edited this way, and its edited copy; a variant has another answer."""
    edit = (COPIES | VARIANTS)[kind]
    for problem in problems:
        edited = edit(problem.prompt, Random(addressed_seed(seed, kind, problem.id)))
        if edited is not None:
            answer = f"{problem.answer} + 1" if kind in VARIANTS else problem.answer
            yield problem, Problem(id=f"{kind}-{problem.id}", prompt=edited, answer=answer, source="planted")


def _other(number: str, random: Random) -> str:
    """A number with as many digits that is not the same."""
    while True:
        digits = "".join(random.choice("123456789") if digit.isdigit() else digit for digit in number)
        if float(digits) != float(number):
            return digits
