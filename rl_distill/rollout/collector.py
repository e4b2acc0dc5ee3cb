"""Problems as requests: how a problem is put to the student, and the check that it fits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rl_distill.errors import InputError
from rl_distill.rewards import Verifier
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.seeding import addressed_seed
from rl_distill.text import PromptFormat, encode_prompt
from rl_distill.trajectory import Group, Message, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A problem as the student sees it."""

    problem: Problem
    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]

    def request(self, sampling: Sampling, *address: int | str) -> Request:
        """One attempt; its seed is a function of the address (run seed, stage, step, sample index ...) and the problem."""
        return Request(
            problem_id=self.problem.id,
            messages=self.messages,
            token_ids=self.token_ids,
            sampling=sampling,
            seed=addressed_seed(*address, self.problem.id),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompter:
    """Renders problems with the student's tokenizer and prompt format."""

    tokenizer: Any
    format: PromptFormat
    max_context: int

    def prompts(
        self,
        groups: Iterable[Group],
        sampling: Sampling,
        *,
        field: str,
        verifiers: Sequence[Verifier] = (),
        max_prompt_tokens: int | None = None,
    ) -> Sequence[Prompt]:
        """All problems as prompts; those longer than `max_prompt_tokens` are left out.

        Args:
            field: the recipe key to name in an error.
            verifiers: those that will judge the answers, so that each problem needs what one of them judges by.

        Raises:
            InputError: no verifier can judge a problem, or one of them can judge none; a prompt leaves no room for the
                response, or nothing is left.
        """
        prompts = []
        for group in groups:
            problem = group.problem
            if verifiers and not any(verifier.can_judge(problem) for verifier in verifiers):
                lacking = " and no ".join(verifier.evidence for verifier in verifiers)
                raise InputError(
                    field, f"problem {problem.id!r} has no {lacking} to verify against", "add one, or leave the problem out"
                )
            messages = self.format.messages(problem.prompt)
            token_ids = encode_prompt(self.tokenizer, messages)
            if max_prompt_tokens is not None and len(token_ids) > max_prompt_tokens:
                continue
            if len(token_ids) + sampling.max_tokens > self.max_context:
                raise InputError(
                    field,
                    f"problem {problem.id!r} has a prompt of {len(token_ids)} tokens, which with sampling.max_tokens "
                    f"{sampling.max_tokens} exceeds the student's context of {self.max_context}",
                    "lower sampling.max_tokens, leave long problems out, or take a student with a longer context",
                )
            prompts.append(Prompt(problem=problem, messages=messages, token_ids=token_ids))
        if not prompts:
            raise InputError(field, "no problem is left", "raise max_prompt_tokens, or check the set's split and path")
        for verifier in verifiers:
            if not any(verifier.can_judge(prompt.problem) for prompt in prompts):
                raise InputError(
                    field, f"no problem has {verifier.evidence} for {verifier.name!r} to judge by", "leave that verifier out"
                )
        return prompts
