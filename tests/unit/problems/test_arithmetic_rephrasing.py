"""The control arm: the same question in other words that its tokenizer has."""

from collections import Counter

from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.problems.arithmetic_inversion import INVERSIONS
from rl_distill.problems.arithmetic_rephrasing import REPHRASINGS


def test_there_are_as_many_wordings_as_rules_and_they_differ() -> None:
    assert len(REPHRASINGS) == len(INVERSIONS)
    for group in Arithmetic(probes="rephrasing", num_problems=30).groups():
        texts = {probe["text"] for probe in group.problem.metadata["probes"]}
        assert len(texts) == len(REPHRASINGS) and group.problem.prompt not in texts


def test_a_wording_asks_for_the_same_answer_with_the_same_numbers() -> None:
    for group in Arithmetic(probes="rephrasing", num_problems=60).groups():
        numbers = Counter(word for word in group.problem.prompt.split() if word.isdigit())
        for probe in group.problem.metadata["probes"]:
            assert probe["teacher_answer"] == group.problem.answer and not probe["leaks_gold"]
            assert Counter(word for word in probe["text"].split() if word.isdigit()) == numbers


def test_every_probe_and_reply_of_both_kinds_can_be_spelled() -> None:
    tokenizer = arithmetic_tokenizer()
    for family in ("inversion", "rephrasing"):
        for group in Arithmetic(probes=family, num_problems=30, levels=(1, 3, 5)).groups():
            for probe in group.problem.metadata["probes"]:
                for text in (probe["text"], probe["teacher_reply"]):
                    assert tokenizer.decode(tokenizer.encode(text)) == text
