"""A short fingerprint of a model's weights, so that a learner and its engines can tell whether they hold the same ones."""

from collections.abc import Mapping
from hashlib import blake2b, file_digest, sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from rl_distill.errors import InputError
from rl_distill.models.lora import plain_name

SAMPLED_ELEMENTS = 4096  # per tensor


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Each parameter once, detached, under its first name: a tied `lm_head.weight` is left out in favour of the embedding.

    Learner and engine both name weights by this function, so that the same model has the same names on both sides. A weight that
    has an adapter keeps the name it has without.
    """
    return {plain_name(name): parameter.detach() for name, parameter in model.named_parameters()}


def weight_digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Hex digest of each tensor by its name, over shape, dtype and up to 4,096 evenly spaced elements.

    Different digests prove that two tensors differ in shape, dtype or value. Equal digests prove that all sampled elements are
    bit-equal, and that tensors of up to 4,096 elements are equal throughout. An optimizer step moves practically every element,
    so a step that never arrived, a stale tensor or swapped tensors change a digest; a few flipped elements of a large tensor may
    go unseen. Float32 and bfloat16 copies of the same weights have different digests.

    Example:
        >>> weight_digests({"a": torch.zeros(2)}) == weight_digests({"a": torch.zeros(2, dtype=torch.bfloat16)})
        False
    """
    return {name: tensor_digest(tensor) for name, tensor in tensors.items()}


def tensor_digest(tensor: Tensor) -> str:
    """The digest of one tensor; see `weight_digests`."""
    tensor = tensor.detach()
    kind = f"{tuple(tensor.shape)}\x1f{tensor.dtype}\x1f".encode()
    return blake2b(kind + _sampled_bytes(tensor), digest_size=8).hexdigest()


def _sampled_bytes(tensor: Tensor) -> bytes:
    """The first and last element and those evenly spaced between them, as raw bytes."""
    size = tensor.numel()
    count = min(size, SAMPLED_ELEMENTS)
    places = torch.arange(count, device=tensor.device) * (size - 1) // max(1, count - 1)
    sample = tensor.reshape(-1).index_select(0, places)
    return sample.cpu().view(torch.uint8).numpy().tobytes()


def weights_digest(folder: Path) -> str:
    """SHA-256 of the files that hold a saved model's weights, by name and content: seconds for billions of parameters.

    Raises:
        InputError: there are none.
    """
    files = sorted(path for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern))
    if not files:
        raise InputError("model", f"{str(folder)!r} holds no weights", "give the folder of a model in Hugging Face format")
    digest = sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.name}\n{file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
