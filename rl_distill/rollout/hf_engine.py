"""The engine that needs nothing but transformers: one model on a CPU or one GPU, decoded by this package's own loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.attempts import check_requests, sampled_trajectory, stop_token_ids
from rl_distill.rollout.engine import EngineDtype, Request, shards, torch_dtype
from rl_distill.rollout.token_ban import VocabularyBans
from rl_distill.rollout.weight_loading import take_over
from rl_distill.text import end_of_turn_ids
from rl_distill.trajectory import Trajectory

if TYPE_CHECKING:
    pass


@config
class HfEngineConfig:
    """How the transformers engine runs; `shard_size`, `max_concurrent` and `prefill_tokens` are part of a run's exact record."""

    name: Literal["hf"] = "hf"
    max_concurrent: int = setting(128, about="sequences decoded together; memory of keys and values grows with it", ge=2)
    shard_size: int = setting(512, about="requests per shard: the unit that gives the same bits wherever it runs", ge=1)
    prefill_tokens: int = setting(8192, about="prompt tokens, padding included, in one forward pass", unit="tokens", ge=1)
    dtype: EngineDtype = setting("float32", about="of the engine's weights; bfloat16 halves memory and traffic, and rounds")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", about="where the engine's model lives; auto takes a GPU if any")


class HfEngine:
    """Samples with its own copy of a causal language model; see `rollout.engine.Engine`.

    A call's requests are cut into shards in order. A trajectory is a function of the weights, the engine's configuration and the
    shard it was sampled in, to the bit on the same kind of machine. Sampled in another shard it draws the same uniforms, and its
    tokens differ only where rounding carries a border between two tokens past a uniform (see `rollout.token_choice`).

    Args:
        model: a transformers causal language model, which is the engine's from now on.
        tokenizer: its tokenizer; names the tokens that end a turn.
        name: what trajectories give as their `model`.
        version: the policy version of the weights that `model` holds.

    Raises:
        InputError: the model cannot be decoded by this engine, or the device does not exist.
    """

    def __init__(self, model: Any, tokenizer: Any, config: HfEngineConfig, *, name: str, version: int = 0) -> None:
        from rl_distill.rollout.decode_support import prepared_for_decoding  # loads transformers, which a recipe does without

        self._model = prepared_for_decoding(model.to(device=_device(config.device), dtype=torch_dtype(config.dtype)))
        self._tokenizer, self._config, self._name = tokenizer, config, name
        self._end_of_turn = end_of_turn_ids(tokenizer)
        self._vocabulary = VocabularyBans(tokenizer)
        self.version, self.shard_size = version, config.shard_size
        self.before_step: Callable[[], None] | None = None

    def generate(self, requests: Sequence[Request]) -> list[Trajectory]:
        """One unscored trajectory for each request, in order.

        Raises:
            InputError: a prompt with its longest response exceeds the model's context, or a stop token is not one token.
            ValueError: a prompt is empty or holds ids that the model does not have.
            RunError: the model's logits are not finite.
        """
        from rl_distill.rollout.decode_loop import decode_shard

        text_config = self._model.config.get_text_config()
        check_requests(requests, context=text_config.max_position_embeddings, vocabulary=text_config.vocab_size)
        samplings = {request.sampling for request in requests}
        stop_ids = {sampling: stop_token_ids(self._tokenizer, self._end_of_turn, sampling) for sampling in samplings}
        trajectories = []
        for shard in shards(requests, self.shard_size):
            responses = decode_shard(
                self._model,
                shard,
                [stop_ids[request.sampling] for request in shard],
                bans=[self._vocabulary.ban(request.sampling.banned) for request in shard],
                max_concurrent=self._config.max_concurrent,
                prefill_tokens=self._config.prefill_tokens,
                before_step=self._next_step,
            )
            trajectories += [
                sampled_trajectory(
                    request,
                    token_ids=response.token_ids,
                    logprobs=response.logprobs,
                    versions=response.versions,
                    stopped=response.stopped,
                    tokenizer=self._tokenizer,
                    model=self._name,
                )
                for request, response in zip(shard, responses, strict=True)
            ]
        return trajectories

    def load_weights(self, update: WeightUpdate) -> Mapping[str, str]:
        """Copy an update's tensors into the engine's own and take its version; returns the digests of what is now loaded.

        Any version is taken, an older one too: a run that resumes or rolls back loads earlier weights on purpose.

        Raises:
            ValueError: names, shapes or dtypes differ from the model's, all of them listed; nothing has been loaded then.
        """
        take_over(self._model, update)
        self.version = update.version
        return weight_digests(named_weights(self._model))

    def canaries(self, request: Request) -> list[Trajectory]:
        return self.generate([request])

    def close(self) -> None:
        """Nothing to do: the model goes with the object."""

    def _next_step(self) -> int:
        if self.before_step is not None:
            self.before_step()
        return self.version


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("engine.device", "is 'cuda', but torch sees no GPU here", "set it to auto or cpu")
    return torch.device(name if name != "auto" else "cuda" if available else "cpu")
