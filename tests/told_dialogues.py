"""Hand-made groups of probe dialogues, in every context, and a tokenizer for their text."""

import re
from collections.abc import Sequence
from typing import Any

from rl_distill.probes import Probe, probes_to_plain
from rl_distill.trajectory import Context, Group, Message, Problem, Score, Status, Trajectory, Verdict

END = "<|im_end|>"
_WORDS: list[str] = [END]


def token_of(word: str) -> int:
    if word not in _WORDS:
        _WORDS.append(word)
    return _WORDS.index(word)


def decode(token_ids: Sequence[int]) -> str:
    return "".join(_WORDS[token] for token in token_ids)


def attempt(
    turns: Sequence[str], own: int, status: Status | None, context: Context, dialogue: int | None, **fields: Any
) -> Trajectory:
    """User and assistant in turn; the last `own` assistant turns were sampled."""
    token_ids: list[int] = []
    sampled: list[bool] = []
    replies = len(turns) // 2
    for place, text in enumerate(turns):
        chosen = place % 2 == 1 and place // 2 >= replies - own
        ids = [token_of(word) for word in [*re.findall(r"\s*\S+|\s+$", text), END]]
        token_ids += ids
        sampled += [chosen] * len(ids)
        if chosen and place < len(turns) - 1:
            token_ids.append(token_of("\n"))
            sampled.append(False)
    value = {"correct": 1.0, "wrong": 0.0}.get(status or "")
    verdict = (
        None if status is None else Verdict(status=status, method="number", detail="18 is not 19" if status == "wrong" else "")
    )
    rows: dict[str, Any] = {
        "problem_id": "chain-17",
        "messages": tuple(Message(("user", "assistant")[place % 2], text) for place, text in enumerate(turns)),
        "token_ids": tuple(token_ids),
        "sampled": tuple(sampled),
        "behavior_logprobs": tuple(-0.05 * (1 + place % 17) if mine else 0.0 for place, mine in enumerate(sampled)),
        "reference_logprobs": tuple(-0.07 * (1 + place % 13) if mine else 0.0 for place, mine in enumerate(sampled)),
        "model": "student",
        "origin": "policy",
        "context": context,
        "dialogue": dialogue,
        "score": None if verdict is None else Score(value=value, verdict=verdict, parts={"accuracy": value}),
    }
    return Trajectory(**(rows | fields))


PROBLEM = "Start at 7, add 5, add 9, take away 2. What is the result?\nGive it in \\boxed{}."
PROBES = (
    Probe(rule="why", text="Why does 7 + 5 come out as 12 and not 11?", answer_kind="closed",
          teacher_reply="7 + 5 > 9, so carry.", teacher_answer="carry"),
    Probe(rule="inverse", text="A number plus 9 is 21. Which number was it?", answer_kind="closed", teacher_reply="21 - 9 = 12",
          teacher_answer="12"),
    Probe(rule="counterfactual", text="What if 8 were added in place of 5, starting at 7?", answer_kind="closed",
          teacher_reply="7 + 8 = 15", teacher_answer="15"),
)  # fmt: skip
REPLIES = (
    ("The units 7 and 5 make more than 9, so a ten is carried: 12.", "21 - 9 = 12, it was 12.", "7 + 8 = 15."),
    ("Because it does.", "It was <script>alert(1)</script> & 30.", "14\n\nno, 15 é…"),
)
RIGHT, WRONG = "7 + 5 = 12\n12 + 9 = 21\n21 - 2 = 19\n\\boxed{19}", "7 + 5 = 11\n11 + 9 = 20\n20 - 2 = 18\n\\boxed{18}"


def dialogue_group() -> Group:
    """Two dialogues over three probes: one is right with its replies and wrong without, the other wrong; a lesson at the end."""
    asked = [probe.text for probe in PROBES]

    def with_replies(replies: Sequence[str], answer: str, count: int = 3) -> list[str]:
        pairs = zip(asked[:count], replies, strict=False)
        return [*(text for pair in pairs for text in pair), PROBLEM, answer]

    def texts(status: Status) -> str:
        return RIGHT if status == "correct" else WRONG

    rows: list[Trajectory] = []
    facts: tuple[tuple[Status, ...], ...] = (("correct", "wrong", "correct"), ("wrong", "wrong", "wrong"))
    for dialogue, (ended, _, _) in enumerate(facts):
        rows.append(attempt(with_replies(REPLIES[dialogue], texts(ended)), 4, ended, "full", dialogue, seed=dialogue))
    for dialogue, (ended, branched, alone) in enumerate(facts):
        own, other = REPLIES[dialogue], ("It is 3.", "It was 40.", "7 + 1 = 8.")
        thoughts = ("Let me see: 7, 5, 9.", "So 12 and then 21.", "Then 19.")
        control: dict[str, Any] = {"control": True, "seed": 10 + dialogue}
        rows += [
            attempt(with_replies(own, texts(branched), 1), 2, branched, "partial", dialogue, finish_reason="length"),
            attempt([PROBLEM, texts(alone)], 1, alone, "direct", dialogue),
            attempt(with_replies(own, texts(ended)), 4, ended, "full", dialogue, **control),
            attempt(with_replies(("", "", ""), texts(branched)), 1, branched, "blanked", dialogue, **control),
            attempt(with_replies(other, texts("wrong")), 1, "wrong", "shuffled", dialogue, **control),
            attempt(
                [text for thought in thoughts for text in ("Think on.", thought)] + [PROBLEM, texts("correct")],
                4, "correct", "think_longer", dialogue, **control,
            ),
        ]  # fmt: skip
    lesson = [text for probe in PROBES for text in (probe.text, probe.teacher_reply)]
    rows.append(attempt(lesson, 3, None, "full", None, origin="teacher", model="teacher"))
    problem = Problem(
        id="chain-17",
        prompt=PROBLEM.split("\n")[0],
        answer="19",
        source="hand-made",
        metadata={"probes": probes_to_plain(PROBES)},
    )
    return Group(problem=problem, trajectories=tuple(rows))


def credits(group: Group) -> list[float | None]:
    """An advantage for every attempt that is trained on."""
    values = iter((1.24, -0.83, -0.2, 0.6, 0.0, -0.41))
    return [None if one.control or one.origin == "teacher" else next(values) for one in group.trajectories]
