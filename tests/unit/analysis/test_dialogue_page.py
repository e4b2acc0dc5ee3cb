"""The page of a step's dialogues: whole, safe, offline, and true to the record."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from told_dialogues import END, credits, decode, dialogue_group

from rl_distill.analysis.dialogue_bonus import Terms
from rl_distill.analysis.dialogue_page import dialogue_page
from rl_distill.analysis.dialogue_record import CreditedGroup, RecordedStep

VOID = {"meta", "br"}
CONTEXTS = ["full", "partial", "direct", "blanked", "shuffled", "think_longer"]


class Page(HTMLParser):
    """The elements of a page in order, each with its attributes and all text inside it; fails where they do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, dict(attrs), list[str]())
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1][0]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for _, _, text in self.open:
            text.append(data)

    def of_class(self, name: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, "".join(text)) for _, attrs, text in self.elements if name in (attrs.get("class") or "").split()]


def step(*groups: CreditedGroup, **terms: Any) -> RecordedStep:
    found = groups or (credited(),)
    return RecordedStep(stage="exgrpo", step=20, steps=(0, 20), groups=found, terms={None: Terms(**terms)})


def credited() -> CreditedGroup:
    group = dialogue_group()
    return CreditedGroup(group=group, advantages=tuple(credits(group)))


@pytest.mark.parametrize("shown", [decode, None], ids=["tokens", "no tokenizer"])
def test_elements_nest_and_every_turn_stands_there_as_it_was_said(shown: Any) -> None:
    page = Page(dialogue_page(step(), run="runs/<seed>0", decode=shown))
    texts = {text.removesuffix(END) for _, text in page.of_class("text")}
    said = {message.content for attempt in dialogue_group().trajectories for message in attempt.messages}
    assert said - {""} <= texts
    assert [tag for tag, _, _ in page.elements].count("script") == 1  # its own; the one in a reply stayed text


def test_nothing_is_asked_of_any_network() -> None:
    text = dialogue_page(step(), run="run", decode=decode)
    page = Page(text)
    links = [attrs[name] for _, attrs, _ in page.elements for name in ("href", "src", "action", "data") if name in attrs]
    assert links == ["#g0"]
    assert not re.search(r"https?:|//\w|url\(|@import|fetch\(|XMLHttpRequest|<link|<img|<iframe", text)
    assert "default-src 'none'" in text


def test_colors_have_the_sign_of_the_advantage_and_its_size() -> None:
    group = credited()
    page = Page(dialogue_page(step(group), run="run", decode=decode))
    drawn = {(attrs["class"], attrs["style"], attrs["data-credit"]) for attrs, _ in page.of_class("said") if "style" in attrs}
    assert drawn == {
        ("text said plus", "--size:1.000", "advantage +1.24"),
        ("text said minus", "--size:0.669", "advantage \u22120.83"),
        ("text said minus", "--size:0.161", "advantage \u22120.2"),
        ("text said plus", "--size:0.484", "advantage +0.6"),
        ("text said even", "--size:0.000", "advantage 0"),
        ("text said minus", "--size:0.331", "advantage \u22120.41"),
        ("text said untrained", "--size:0.000", "a control, never trained on"),
        ("text said untrained", "--size:0.000", "no advantage: imitated, if at all"),
    }


def test_only_what_the_student_chose_is_made_of_tokens() -> None:
    group = credited()
    whole = "".join(dialogue_page(step(group), run="run", decode=decode))
    first = group.group.trajectories[0]
    tokens = [
        f"{token}|{behavior:.4f}|{reference:.4f}"
        for token, mine, behavior, reference in zip(
            first.token_ids, first.sampled, first.behavior_logprobs or (), first.reference_logprobs or (), strict=True
        )
        if mine
    ]
    assert re.findall(r'data-t="([^"]*)"', whole)[: len(tokens)] == tokens


def test_each_dialogue_has_all_its_contexts_side_by_side_with_their_verdicts() -> None:
    group = credited()
    page = Page(dialogue_page(step(group), run="run", decode=decode))
    cards = page.of_class("context")
    assert [attrs["data-context"] for attrs, _ in cards] == CONTEXTS * 2
    counts = [re.search(r"(\d of \d) correct", text) for _, text in cards]
    assert [found and found[1] for found in counts] == [
        *("2 of 2", "0 of 1", "1 of 1", "0 of 1", "0 of 1", "1 of 1"),
        *("0 of 2", "0 of 1", "0 of 1", "0 of 1", "0 of 1", "1 of 1"),
    ]


def test_a_context_without_answers_has_no_card() -> None:
    whole = credited()
    kept = [place for place, one in enumerate(whole.group.trajectories) if one.context in ("full", "blanked")]
    group = replace(whole.group, trajectories=tuple(whole.group.trajectories[place] for place in kept))
    few = CreditedGroup(group=group, advantages=tuple(whole.advantages[place] for place in kept))
    page = Page(dialogue_page(step(few), run="run"))
    assert [attrs["data-context"] for attrs, _ in page.of_class("context")] == ["full", "blanked"] * 2


def test_the_page_says_what_was_paid_and_why() -> None:
    page = Page(dialogue_page(step(measure="paired", delta=0.2), run="run", decode=decode))
    alike = "with blanked ones (of all dialogues that read alike when blanked)"
    assert [text for _, text in page.of_class("why")] == [
        f"Correct in 2 of 2 with its own replies, in 0 of 2 {alike}: gain 1, bonus 0.2.",
        f"Correct in 0 of 2 with its own replies, in 0 of 2 {alike}: gain 0, bonus 0. "
        "Only a correct answer is paid, and this one is wrong.",
    ]
    assert [attrs["class"] for attrs, _ in page.of_class("why")] == ["why paid", "why"]


def test_a_group_with_another_number_of_advantages_is_refused() -> None:
    with pytest.raises(ValueError, match="advantages: has 1 entries for 15 attempts"):
        CreditedGroup(group=dialogue_group(), advantages=(0.0,))


def test_what_is_open_at_first_is_the_first_problem_that_taught_and_there_the_dialogue_with_most_credit() -> None:
    full = credited()
    flat = replace(full, advantages=tuple(0.0 if value is not None else None for value in full.advantages))
    most = max(
        (abs(value or 0.0), one.dialogue)
        for one, value in zip(full.group.trajectories, full.advantages, strict=True)
        if one.context == "full" and not one.control and one.dialogue is not None
    )[1]
    page = Page(dialogue_page(step(flat, full), run="run", decode=decode))
    assert [attrs["id"] for attrs, _ in page.of_class("dialogue") if "open" in attrs] == [f"g1-{most}"]
