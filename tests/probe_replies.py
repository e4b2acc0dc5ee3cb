"""What a teacher and a base student say about probes: each probe's first word tells them how to behave.

A rule "Make leaks." lets the teacher write the probe "[leaks] ...". Problems are of one form, "I had 9 (easy) and gave 2. ...",
of which a word in brackets says how the base student fares: easy, hard, or neither.
"""

import re
from collections.abc import Sequence
from typing import Any

WRITER = "You write a probe."
RULES = {
    "version": 1,
    "frame": WRITER + " {task} {form}\nQ {question} Q\nA {answer} A\nS {solution} S",
    "forms": {"closed": "short", "open": "long"},
}


def rules(*words: str) -> dict[str, Any]:
    """A file of rules, one for each word; "open" makes an open probe."""
    kinds = {word: "open" if word.startswith("open") else "closed" for word in words}
    made = [{"id": word, "family": "f", "asks": "a", "answer_kind": kinds[word], "prompt": f"Make {word}."} for word in words]
    return {**RULES, "rules": made}


def reply(messages: Sequence[dict[str, str]], *, is_student: bool) -> str | None:
    """None where it is not about probes."""
    last = messages[-1]["content"]
    if last.startswith(WRITER):
        return _written(last)
    if len(messages) == 1 and last.startswith("["):
        return _as_student(last) if is_student else _as_teacher(last)
    if last.startswith("I had"):
        misled = messages[0]["content"].startswith("[misleads]")
        return f"so \\boxed{{{999 if misled or is_student else _gold(last)}}}"
    return None


def _written(frame: str) -> str:
    word = frame.partition("Make ")[2].partition(".")[0]
    question = frame.partition("\nQ ")[2].partition(" Q\n")[0]
    special = {
        "none": "<probe>None.</probe>",
        "unparsable": "I would ask why.",
        "foreign": "<probe>为什么要用减法而不是加法呢</probe>",
        "leaks": f"<probe>[leaks] {question} Why are {_gold(question)} left?</probe>",
        "copies": "<probe>[good] The zebra sang nine songs to a tired old king of the silver mountain range last winter.</probe>",
    }
    return special.get(word, f"thinking</think><probe>[{word}] {question} And with one more?</probe>")


def _as_teacher(probe: str) -> str:
    special = {"strange": "因为他送出去了一些苹果所以 \\boxed{42}", "unboxed": "who knows", "silent": " "}
    return special.get(_word(probe), "because of it, right, \\boxed{42}")


def _as_student(probe: str) -> str:
    if "\n\nI had" in probe:  # the problem, with the probe's text before it
        return f"so \\boxed{{{_gold(probe) if _word(probe) == 'tells' else 999}}}"
    knows = "(easy)" in probe or ("(hard)" not in probe and _word(probe) in ("good", "open_right"))
    return "right, \\boxed{42}" if knows else "no, \\boxed{7}"


def _word(probe: str) -> str:
    return probe[1:].partition("]")[0]


def _gold(question: str) -> int:
    had, gave = (int(number) for number in re.findall(r"(?:had|gave) (\d+)", question)[:2])
    return had - gave
