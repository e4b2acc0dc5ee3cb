"""An answer as the tokens that were sampled, with the server's log-probs of others in their place: what `kd` learns from.

Nothing is tokenised that the server has tokens for: ids are the server's, and have to decode to the text that it gave.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from rl_distill.config import config, setting
from rl_distill.curation.extract import REASONING, raw_attempt
from rl_distill.curation.teacher import Response, TeacherRequest, TeacherSampling
from rl_distill.curation.token_entries import TokenIds, Unusable, candidates_at, named_id
from rl_distill.errors import InputError
from rl_distill.models.loading import load_tokenizer
from rl_distill.models.token_match import vocabulary_digest
from rl_distill.text import decode, encode_prompt, end_of_turn_ids
from rl_distill.trajectory import TEACHER_TEMPERATURE, TEACHER_VOCABULARY, Message, Problem, Trajectory

# Keys of a request's body that change the distribution that is sampled from, beside temperature and top_p.
RESHAPING = (
    *("top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "logit_bias", "bad_words"),
    *("allowed_token_ids", "structured_outputs", "response_format", "min_tokens"),
)


@config
class TeacherColumns:
    """Keeps the teacher's most likely tokens at each place of its answers, one fewer than `sampling.top_logprobs`.

    A run learns from them by `teacher: recorded` and the algorithm `kd`, without the teacher. They take about 20 bytes for each
    kept token, so 20 alternatives make 400 bytes of each token of an answer.
    """

    tokenizer: str = setting(about="folder or hub name of the teacher's tokenizer, which has to be the student's too")
    logprobs_mode: Literal["raw", "processed"] = setting(
        "raw",
        about="what the server's log-probs are of: the model's distribution at temperature 1, or the one it samples from",
        source="vLLM's name and default",
    )

    def check(self, samplings: Sequence[TeacherSampling]) -> None:
        """
        Raises:
            ValueError: these answers would come without the log-probs, or with those of a distribution that is none of a softmax.
        """
        counts = {sampling.top_logprobs for sampling in samplings}
        if min(counts) < 2:
            raise ValueError(
                "teacher_columns keeps one token fewer than the server gives: "
                "set sampling.logprobs=true, and sampling.top_logprobs to 2 or more"
            )
        if len(counts) > 1:
            raise ValueError("teacher_columns keeps as many tokens everywhere: give sampling_overrides the same top_logprobs")
        if self.logprobs_mode == "processed":
            for sampling in samplings:
                _check_softmax(sampling)

    def temperature(self, sampling: TeacherSampling) -> float:
        """Of the softmax that the log-probs are of."""
        if self.logprobs_mode == "raw":
            return 1.0
        assert sampling.temperature is not None, "checked"
        return sampling.temperature


def _check_softmax(sampling: TeacherSampling) -> None:
    if not sampling.temperature:
        raise ValueError("teacher_columns.logprobs_mode processed: give a sampling.temperature above 0, which the columns are of")
    cut = [key for key in RESHAPING if key in sampling.extra] + (["top_p"] if sampling.top_p not in (None, 1.0) else [])
    if cut:
        raise ValueError(f"teacher_columns.logprobs_mode processed: sampling has {cut[0]}, which cuts the distribution: drop it")


class ColumnReader:
    """Makes attempts with columns from answers.

    Raises:
        InputError: there is no such tokenizer.
    """

    def __init__(self, settings: TeacherColumns) -> None:
        field = "generate.teacher_columns.tokenizer"
        self._settings = settings
        self._tokenizer = load_tokenizer(settings.tokenizer, field=field)
        self._ids = TokenIds(self._tokenizer)
        self._ends = end_of_turn_ids(self._tokenizer)
        self._vocabulary = vocabulary_digest(self._tokenizer)

    def attempt(self, problem: Problem, request: TeacherRequest, response: Response) -> Trajectory:
        """What a row of the store says, token by token. The reply's text is that of its tokens, reasoning included.

        An answer that failed has no columns: it is left out later, for what it failed of.

        Raises:
            Unusable: it is not exactly known which tokens were sampled after which prompt, or what else was likely.
            InputError: the tokenizer is too small for that many candidates.
        """
        plain = raw_attempt(problem, request.conversation, response)
        if plain.finish_reason == "error":
            return plain
        try:
            prompt, sampled = self._prompt(request, response), self._sampled(response)
            columns = self._columns(request, response, sampled)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unusable("malformed_logprobs", f"{type(error).__name__}: {error}") from None
        said = decode(self._tokenizer, sampled)
        if not _is_text(said, response):
            raise Unusable("text_differs", f"its tokens are the text {said[:80]!r}")
        if plain.finish_reason == "stop" and sampled[-1] not in self._ends:
            raise Unusable("no_end_of_turn", "the server names no token that ended the answer, so that nobody could learn to end")
        before, unsampled = (False,) * len(prompt), ((),) * len(prompt)
        return replace(
            plain,
            messages=(*request.conversation, Message("assistant", said)),
            token_ids=(*prompt, *sampled),
            sampled=(*before, *(True,) * len(sampled)),
            candidate_ids=(*unsampled, *(ids for ids, _ in columns)),
            teacher_candidate_logprobs=(*unsampled, *(logprobs for _, logprobs in columns)),
            metadata={key: value for key, value in plain.metadata.items() if key != REASONING}
            | {TEACHER_TEMPERATURE: self._settings.temperature(request.sampling), TEACHER_VOCABULARY: self._vocabulary},
        )

    def _prompt(self, request: TeacherRequest, response: Response) -> list[int]:
        """The server's ids; where it gives none, the tokenizer's own, if they are as many as the server counted."""
        given = (response.raw or {}).get("prompt_token_ids")
        if given is None:
            made = list(encode_prompt(self._tokenizer, request.conversation))
            if not response.tokens_counted_by_server or len(made) != response.prompt_tokens:
                raise Unusable("unknown_prompt", "the server gives no prompt_token_ids, and counts another number than we do")
            return made
        ids = [self._ids.checked(token) for token in given]
        text = self._tokenizer.decode(ids, skip_special_tokens=False)
        if lost := next((turn for turn in request.conversation if turn.content.strip() not in text), None):
            raise Unusable("prompt_differs", f"the prompt's tokens lack the turn {lost.content[:80]!r}")
        return ids

    def _sampled(self, response: Response) -> list[int]:
        """Ids of the answer: as the server gives them, or as the names of its tokens say."""
        entries: Sequence[Any] = response.logprobs or ()
        given = (response.raw or {})["choices"][0].get("token_ids")
        ids = [self._ids.id_of(entry["token"]) for entry in entries] if given is None else [*map(self._ids.checked, given)]
        if not ids or len(ids) != len(entries):
            raise Unusable("tokens_missing", f"{len(ids)} tokens and log-probs of {len(entries)}")
        if any(named_id(entry["token"]) not in (None, token) for entry, token in zip(entries, ids, strict=True)):
            raise Unusable("tokens_differ", "the log-probs are of other tokens than token_ids")
        return ids

    def _columns(
        self, request: TeacherRequest, response: Response, sampled: Sequence[int]
    ) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        count = request.sampling.top_logprobs - 1
        if count >= len(self._ids):
            raise InputError("sampling.top_logprobs", f"keeps {count} of {len(self._ids)} tokens", "lower it: some must be left")
        entries = response.logprobs or ()
        return [candidates_at(entry, token, self._ids, count) for entry, token in zip(entries, sampled, strict=True)]


def _is_text(said: str, response: Response) -> bool:
    """Whether tokens are the answer that the server gave, whatever it did to white space and to the marks of a reasoning.

    An answer that was cut off may end within a character, which servers keep back.
    """
    said, text, reasoning = (_trimmed(part) for part in (said, response.text, response.reasoning or ""))
    if not reasoning:
        return said == text
    return said.endswith(text) and reasoning in said.removesuffix(text)


def _trimmed(text: str) -> str:
    return text.rstrip("\ufffd").strip()
