"""One page, without network, on which a person reads the probe dialogues of a step: what was said, what it earned, and why."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template

from rl_distill.analysis.dialogue_bonus import Terms, answers, ends, number, payments, tally
from rl_distill.analysis.dialogue_html import CONTEXTS, Brush, group_html
from rl_distill.analysis.dialogue_record import RecordedStep, recorded_step, tokenizer_of
from rl_distill.analysis.dialogue_turns import Decode
from rl_distill.errors import InputError

PAGE = "dialogues.html"
TEMPLATE = Path(__file__).with_name("dialogue_page.html")
MEASURES = {
    "paper_gate": "the paper's gate: a bonus to every correct answer if all probes together beat the first ones",
    "gain": "gain over the problem alone",
    "paired": "gain of its own replies over blanked ones",
    "logp": "gain in log-prob of the gold answer",
}


def write_dialogue_page(run: Path, *, stage: str | None = None, step: int | None = None, out: Path | None = None) -> Path:
    """Write the page of a step's dialogues; returns where it is.

    Args:
        stage, step: none is the last one that recorded dialogues.
        out: none is `dialogues.html` in the run's folder.

    Raises:
        InputError: there is no run, no dialogue in it, none of that stage or step, or the file cannot be written.
    """
    recorded = recorded_step(run, stage, step)
    text = dialogue_page(recorded, run=str(run), decode=tokenizer_of(run))
    target = out or run / PAGE
    try:
        target.write_bytes(text.encode("utf-8", "replace"))  # a student may sample half a letter
    except OSError as error:
        problem = f"{str(target)!r} cannot be written ({error.strerror})"
        raise InputError("--out", problem, "choose a file in a folder you may write to") from None
    return target


def dialogue_page(recorded: RecordedStep, *, run: str, decode: Decode | None = None) -> str:
    """The page as text.

    Args:
        run: how the page calls the run.
        decode: token ids to text, special tokens included; without it turns are shown whole, without their tokens.
    """
    title = f"Dialogues of {run}, stage {recorded.stage}, step {recorded.step}"
    body = "\n".join([*_head(recorded, run, decode), *_overview(recorded), *_groups(recorded, decode)])
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body=body)


def _largest(recorded: RecordedStep) -> float:
    return max((abs(value) for one in recorded.groups for value in one.advantages if value is not None), default=0.0)


def _head(recorded: RecordedStep, run: str, decode: Decode | None) -> Iterator[str]:
    count = sum(len(ends(one.group)) for one in recorded.groups)
    terms = recorded.terms[None]
    paid = f"up to {number(terms.delta)}, {MEASURES[terms.measure]}" if terms.measure else "none"
    yield f"<h1>Probe dialogues <small>{escape(run)}</small></h1>"
    yield (
        f"<p>Stage <b>{escape(recorded.stage)}</b>, step <b>{recorded.step}</b>: {count} dialogues at {len(recorded.groups)} "
        f"problems. Bonus: {escape(paid)}.</p>"
    )
    others = [str(step) for step in recorded.steps if step != recorded.step]
    if others:
        shown = ", ".join(others if len(others) <= 12 else [*others[:11], "…"])
        yield f'<p class="soft">Recorded too: step {shown}. <code>rl-distill dialogues RUN --step N</code> shows another.</p>'
    if decode is None:
        yield '<p class="soft">No tokenizer lies in the run\'s folder yet, so turns are shown without their tokens.</p>'
    largest = number(_largest(recorded))
    yield (
        f'<div class="legend"><span>advantage \u2212{largest}<span class="scale"></span>+{largest}</span>'
        '<span class="untrained"><span class="said"><i>dotted</i></span> sampled, not trained on</span>'
        '<span class="soft">plain: not the student\'s words</span></div>'
        '<p class="soft">Point at a token for its log-probs. Keys: <kbd>j</kbd> <kbd>k</kbd> next and previous dialogue, '
        "<kbd>Enter</kbd> opens it, <kbd>a</kbd> opens all, <kbd>Tab</kbd> goes to a reply, <kbd>←</kbd> <kbd>→</kbd> along its "
        "tokens.</p>"
    )


def _overview(recorded: RecordedStep) -> Iterator[str]:
    """A line for each problem: correct answers by context, and how many dialogues were paid."""
    shown = [context for context in CONTEXTS if any(answers(one.group, context) for one in recorded.groups)]
    heads = "".join(f'<th class="number">{name}</th>' for name in [*shown, "bonus paid"])
    yield f'<div class="wide"><table><caption class="soft">Correct answers by context</caption><tr><th>problem</th>{heads}</tr>'
    for place, one in enumerate(recorded.groups):
        paid = payments(one.group, recorded.terms.get(one.beside, Terms()))
        cells = [*(str(tally(answers(one.group, context))) for context in shown)]
        cells.append(f"{sum(payment.bonus > 0 for payment in paid.values())} of {len(paid)}")
        row = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        yield f'<tr><td><a href="#g{place}">{escape(one.group.problem.id)}</a></td>{row}</tr>'
    yield "</table></div>"


def _groups(recorded: RecordedStep, decode: Decode | None) -> Iterator[str]:
    brush = Brush(decode=decode, largest=_largest(recorded))
    shown = _opened(recorded)
    for place, one in enumerate(recorded.groups):
        terms = recorded.terms.get(one.beside, Terms())
        yield from group_html(one, place, terms, brush, shown[1] if place == shown[0] else None)


def _opened(recorded: RecordedStep) -> tuple[int, int | None]:
    """The (problem, dialogue) that is open at first: of the first problem where anything was learnt, the one with most credit."""
    for place, one in enumerate(recorded.groups):
        credit = {
            attempt.dialogue: abs(advantage)
            for attempt, advantage in zip(one.group.trajectories, one.advantages, strict=True)
            if advantage and attempt.dialogue in ends(one.group)
        }
        if credit:
            return place, max(credit, key=lambda dialogue: credit[dialogue])
    return 0, min(ends(recorded.groups[0].group), default=None)
