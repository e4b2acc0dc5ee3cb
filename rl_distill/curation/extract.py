"""From what a teacher answered to attempts: one conversation each, reasoning and answer joined as the student shall say them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rl_distill.config import config, setting
from rl_distill.curation.drop import Drop
from rl_distill.curation.stage_folder import StageResult
from rl_distill.curation.teacher import Response
from rl_distill.rewards.answers import boxed_answer
from rl_distill.text import is_writable
from rl_distill.trajectory import FinishReason, Group, Message, Problem, Trajectory

REASONING, FAILURE, TOKENS = "reasoning", "failure", "completion_tokens"  # keys of an attempt's metadata


@config
class ReasoningFormat:
    """How a reasoning that the server gives in a field of its own, and the answer after it, become one reply."""

    opening: str = setting("<think>\n", about="before the reasoning", source="arXiv:2501.12948")
    closing: str = setting("\n</think>\n\n", about="between reasoning and answer", source="arXiv:2501.12948")
    required: bool = setting(False, about="leave out replies that do not have both")

    def joined(self, reasoning: str | None, text: str) -> str:
        """A reply that marks its reasoning itself stays as it is; the tags count without the white space around them."""
        if reasoning is None:
            return text
        return f"{self.opening}{reasoning.strip()}{self.closing}{text.strip()}"

    def is_marked(self, reply: str) -> bool:
        opening, closing = self.opening.strip(), self.closing.strip()
        return reply.lstrip().startswith(opening) and closing in reply and bool(reply.partition(closing)[2].strip())


def raw_attempt(problem: Problem, conversation: Sequence[Message], response: Response) -> Trajectory:
    """What a row of the store says, with what it cost; text and reasoning still apart."""
    metadata: dict[str, Any] = {
        "row": response.row_key,
        TOKENS: response.completion_tokens,
        "prompt_tokens": response.prompt_tokens,
        "price": response.price,
    }
    if response.reasoning is not None:
        metadata[REASONING] = response.reasoning
    if response.failure is not None:
        metadata[FAILURE] = response.failure
    return Trajectory(
        problem_id=problem.id,
        messages=(*conversation, Message("assistant", response.text)),
        model=response.model or "",
        origin="teacher",
        finish_reason=_finish(response),
        metadata=metadata,
        seed=response.seed,
    )


def extract(groups: Sequence[Group], settings: ReasoningFormat) -> StageResult:
    """Attempts as they will be trained on. What has no text is left out; cut-off ones stay, marked as such."""
    rows, drops = [], []
    boxed = 0
    for group in groups:
        kept = []
        for place, attempt in enumerate(group.trajectories):
            made = _joined(attempt, settings)
            if reason := _unusable(made, settings):
                detail = str(made.metadata.get(FAILURE, ""))
                drops.append(_drop(group.problem, place, reason, detail))
                continue
            boxed += boxed_answer(made.response) is not None
            kept.append(made)
        rows.append(Group(problem=group.problem, trajectories=tuple(kept)))
    return StageResult(groups=rows, drops=drops, facts={"with_boxed_answer": boxed})


def _joined(attempt: Trajectory, settings: ReasoningFormat) -> Trajectory:
    metadata = {key: value for key, value in attempt.metadata.items() if key != REASONING}
    reasoning = attempt.metadata.get(REASONING)
    text = settings.joined(reasoning, attempt.response)
    if settings.closing.strip() and settings.closing.strip() in text:
        metadata["closing"] = settings.closing.strip()
    *before, _ = attempt.messages
    return replace(attempt, messages=(*before, Message("assistant", text)), metadata=metadata)


def _unusable(attempt: Trajectory, settings: ReasoningFormat) -> str:
    if not attempt.response.strip():
        return "no_text"
    if not all(is_writable(turn.content) for turn in attempt.messages):
        return "half_character"
    if attempt.finish_reason == "error":
        return "failed"
    if settings.required and attempt.finish_reason == "stop" and not settings.is_marked(attempt.response):
        return "no_reasoning"
    return ""


def _finish(response: Response) -> FinishReason:
    if response.failure == "length" or response.finish_reason == "length":
        return "length"
    return "stop" if response.failure is None else "error"


def _drop(problem: Problem, place: int, reason: str, detail: str) -> Drop:
    return Drop(stage="extract", problem_id=problem.id, source=problem.source, reason=reason, detail=detail, attempt=place)


def length_of(attempt: Trajectory) -> tuple[int, str]:
    """An attempt's length and its unit: tokens where the teacher counted them, else characters."""
    metadata: Mapping[str, Any] = attempt.metadata
    if TOKENS in metadata:
        return int(metadata[TOKENS]), "tokens"
    return len(attempt.response), "characters"
