"""What is no problem at all is left out before anything is paid for."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pydantic import field_validator

from rl_distill.config import config, setting
from rl_distill.curation.drop import Drop
from rl_distill.curation.stage_folder import StageResult
from rl_distill.rewards.code_tests import KEY
from rl_distill.text import is_writable
from rl_distill.trajectory import Group, Problem


@config
class Cleaning:
    """Problems without a text, without a gold answer or tests, with broken characters, or with words that say what is missing."""

    exclude: tuple[str, ...] = setting(
        (), about="regular expressions, any case, such as \\bfigure\\b; a prompt that has one is left out"
    )
    without_answer: bool = setting(False, about="keep problems that nothing can verify")

    @field_validator("exclude")
    @classmethod
    def _can_be_read(cls, exclude: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in exclude:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error}): mend it") from None
        return exclude

    def apply(self, groups: Sequence[Group]) -> StageResult:
        patterns = [re.compile(pattern, re.IGNORECASE) for pattern in self.exclude]
        kept, drops = [], []
        for group in groups:
            problem = replace(group.problem, prompt=group.problem.prompt.strip())
            fault = self._fault(problem, patterns)
            if fault is None:
                kept.append(replace(group, problem=problem))
            else:
                reason, detail = fault
                drops.append(Drop(stage="normalise", problem_id=problem.id, source=problem.source, reason=reason, detail=detail))
        return StageResult(groups=kept, drops=drops)

    def _fault(self, problem: Problem, patterns: Sequence[re.Pattern[str]]) -> tuple[str, str] | None:
        if not problem.prompt:
            return "empty", "its prompt has no text"
        if not all(map(is_writable, (problem.id, problem.source, problem.prompt, problem.answer or ""))):
            return "half_character", "its id, source, prompt or answer has a lone surrogate, which no file can be written with"
        if not self.without_answer and not (problem.answer or "").strip() and not problem.metadata.get(KEY):
            return "no_answer", "it has neither a gold answer nor tests"
        found = next((match for pattern in patterns if (match := pattern.search(problem.prompt))), None)
        return None if found is None else ("excluded", f"its prompt has {found[0]!r}")
