"""Dialogues as pieces of HTML: a turn with its tokens, an attempt, its contexts side by side, a whole group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rl_distill.analysis.dialogue_bonus import Payment, Terms, answers, ends, mean_reference_logprob, number, payments, tally
from rl_distill.analysis.dialogue_record import CreditedGroup
from rl_distill.analysis.dialogue_turns import Decode, Turn, turns_of
from rl_distill.probes import probes_of
from rl_distill.trajectory import Context, Group, Trajectory

CONTEXTS: Mapping[Context, str] = {
    "full": "the whole dialogue",
    "partial": "its own first probes and replies",
    "direct": "the problem alone",
    "blanked": "the same probes, its replies removed",
    "shuffled": "the same probes, replies about another problem",
    "think_longer": "told to go on thinking, at most as many tokens, no probes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Brush:
    """How attempts of a page are drawn.

    decode   token ids to text; None shows turns without their tokens
    largest  the largest size of an advantage on the page, which gets the strongest color
    """

    decode: Decode | None
    largest: float


def group_html(credited: CreditedGroup, place: int, terms: Terms, brush: Brush, opened: int | None = None) -> Iterator[str]:
    """A problem with all of its dialogues.

    Args:
        place: counts the groups of the page.
        opened: the dialogue that is open at first.
    """
    group, advantages = credited.group, _by_identity(credited)
    problem = group.problem
    gold = "nobody knows the answer" if problem.answer is None else f"gold answer <b>{escape(problem.answer)}</b>"
    beside = f" · beside, {escape(credited.beside)}" if credited.beside else ""
    yield f'<section id="g{place}"><h2>{escape(problem.id)} <small>{escape(problem.source)}{beside}</small></h2>'
    yield f'<p class="text">{escape(problem.prompt)}</p><p>{gold}</p>'
    paid = payments(group, terms)
    for dialogue, end in ends(group).items():
        yield f'<details class="dialogue" id="g{place}-{dialogue}"{" open" if dialogue == opened else ""}>'
        yield f"{_headline(end, paid[dialogue], advantages, terms)}<div>"
        yield from _transcript(group, end, advantages, brush)
        yield f'<p class="why{" paid" if paid[dialogue].bonus else ""}">{escape(paid[dialogue].words)}</p>'
        yield from _contexts(group, end, advantages, brush)
        yield "</div></details>"
    for attempt in group.trajectories:
        if attempt.dialogue is None:
            name = "The teacher's own dialogue on these probes" if attempt.origin == "teacher" else "An attempt in no dialogue"
            yield f'<details class="dialogue"><summary>{name}</summary><div>'
            yield from _transcript(group, attempt, advantages, brush)
            yield "</div></details>"
    yield "</section>"


def credit_words(attempt: Trajectory, advantage: float | None) -> str:
    """Whether the attempt was trained on, and with what advantage."""
    if advantage is not None:
        return f"advantage {'+' if advantage > 0 else ''}{number(advantage)}"
    if attempt.control:
        return "a control, never trained on"
    return "no advantage: imitated, if at all" if attempt.origin == "teacher" else "not trained on"


Advantages = Mapping[int, float | None]


def _by_identity(credited: CreditedGroup) -> Advantages:
    pairs = zip(credited.group.trajectories, credited.advantages, strict=True)
    return {id(attempt): advantage for attempt, advantage in pairs}


def _headline(end: Trajectory, payment: Payment, advantages: Advantages, terms: Terms) -> str:
    paid = (
        f'<span class="mark paid">bonus {number(payment.bonus)}</span>' if payment.bonus else '<span class="mark">no bonus</span>'
    )
    return f"<summary><b>Dialogue {end.dialogue}</b> {_outcome(end, advantages)} {paid if terms.measure else ''}</summary>"


def _outcome(attempt: Trajectory, advantages: Advantages) -> str:
    """Verdict, reward and credit of an attempt, on one line."""
    status = attempt.status or "not judged"
    detail = attempt.score.verdict.detail if attempt.score and attempt.score.verdict else ""
    title = f' title="{escape(detail)}"' if detail else ""
    facts = [f'<span class="mark {escape(status)}"{title}>{escape(status)}</span>']
    if attempt.finish_reason != "stop":
        facts.append(f'<span class="mark">{"cut off at its limit" if attempt.finish_reason == "length" else "failed"}</span>')
    words = [credit_words(attempt, advantages[id(attempt)])]
    if attempt.score is not None and attempt.score.value is not None:
        parts = ", ".join(f"{escape(name)} {number(value)}" for name, value in attempt.score.parts.items() if value is not None)
        words.insert(0, f"reward {number(attempt.score.value)}{f' ({parts})' if len(attempt.score.parts) > 1 else ''}")
    return f'{" ".join(facts)} <span class="credit">{" · ".join(words)}</span>'


def _transcript(group: Group, attempt: Trajectory, advantages: Advantages, brush: Brush) -> Iterator[str]:
    """All turns of an attempt, one below the other."""
    rules = {probe.text: probe.rule for probe in probes_of(group.problem)}
    yield from _turns(attempt, turns_of(attempt, brush.decode), rules, advantages, brush)


def _turns(
    attempt: Trajectory, turns: Sequence[Turn], rules: Mapping[str, str], advantages: Advantages, brush: Brush
) -> Iterator[str]:
    asked = 0
    ends_in_problem = attempt.origin == "policy" or attempt.control  # a lesson has probes alone
    last = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=0) if ends_in_problem else len(turns)
    for place, turn in enumerate(turns):
        if turn.role == "user" and place < last:
            asked += 1
            rule = rules.get(turn.text)
            name = f"probe {asked}" + (f" · <small>{escape(rule)}</small>" if rule else "")
        elif turn.role == "user":
            name = "problem"
        elif turn.role == "assistant":
            name = "reply" if place < last else "answer"
        else:
            name = escape(turn.role)
        yield f'<div class="turn"><b>{name}</b>{_turn(attempt, turn, advantages, brush)}</div>'


def _turn(attempt: Trajectory, turn: Turn, advantages: Advantages, brush: Brush) -> str:
    """The text of a turn; what the model chose is colored by the attempt's advantage."""
    if not turn.chosen:
        return f'<div class="text">{escape(turn.text) or _NOTHING}</div>'
    advantage = advantages[id(attempt)]
    sign = "untrained" if advantage is None else "plus" if advantage > 0 else "minus" if advantage < 0 else "even"
    size = abs(advantage or 0.0) / brush.largest if brush.largest else 0.0
    credit = escape(credit_words(attempt, advantage))
    tokens = "".join(
        f'<i data-t="{token.id}|{_logprob(token.behavior)}|{_logprob(token.reference)}">{escape(token.text)}</i>'
        for token in turn.tokens
    )
    whole = tokens or f"<i>{escape(turn.text)}</i>"
    return f'<div class="text said {sign}" style="--size:{size:.3f}" data-credit="{credit}" tabindex="0">{whole}</div>'


def _contexts(group: Group, end: Trajectory, advantages: Advantages, brush: Brush) -> Iterator[str]:
    """The answers to the problem after this dialogue and after what it is compared with, side by side."""
    yield '<h3>The same problem in other contexts</h3><div class="contexts">'
    for context, about in CONTEXTS.items():
        found = answers(group, context, end.dialogue)
        gold = [one for one in group.trajectories if _is_gold(one, context, end.dialogue)]
        if not found and not gold:
            continue
        share = f" · {tally(found)} correct" if found else ""
        yield f'<div class="context" data-context="{context}"><header><h4>{context}{share}</h4><small>{about}</small></header>'
        before: tuple[object, ...] | None = None
        for attempt in found:
            turns = turns_of(attempt, brush.decode)
            if attempt.messages[:-2] != before:
                before = attempt.messages[:-2]
                yield from _before(attempt, end, turns, advantages, brush)
            yield f'<div class="answer">{_outcome(attempt, advantages)}{_turn(attempt, turns[-1], advantages, brush)}</div>'
        yield from map(_gold, gold)
        yield "</div>"
    yield "</div>"


def _before(attempt: Trajectory, end: Trajectory, turns: Sequence[Turn], advantages: Advantages, brush: Brush) -> Iterator[str]:
    """What stood before the problem, where it is not simply the beginning of the dialogue itself."""
    earlier = attempt.messages[:-2]
    replies = sum(message.role == "assistant" for message in earlier)
    if earlier == end.messages[: len(earlier)]:
        if attempt is not end and replies:
            yield f"<small>after {replies} of its own replies</small>"
        return
    yield f"<details><summary>after these {replies} replies</summary>"
    for turn in turns[:-2]:
        name = {"user": "asked", "assistant": "reply"}.get(turn.role, escape(turn.role))
        yield f'<div class="turn"><b>{name}</b>{_turn(attempt, turn, advantages, brush)}</div>'
    yield "</details>"


def _is_gold(attempt: Trajectory, context: Context, dialogue: int | None) -> bool:
    return attempt.origin == "teacher" and attempt.context == context and attempt.dialogue == dialogue and dialogue is not None


def _gold(attempt: Trajectory) -> str:
    mean = mean_reference_logprob(attempt)
    found = "not recorded" if mean is None else number(mean)
    return f'<div class="answer"><small>gold answer, log-prob of a token: {found}</small></div>'


_NOTHING = '<span class="soft">(nothing)</span>'


def _logprob(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
