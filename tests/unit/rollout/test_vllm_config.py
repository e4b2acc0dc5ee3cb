"""What is said about vLLM before anything starts; needs no vLLM, since distributions are made up on the import path."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from rl_distill.errors import InputError
from rl_distill.rollout import vllm_config
from rl_distill.rollout.vllm_config import VllmEngineConfig, check_vllm, installed_vllm

CONFIG = VllmEngineConfig()
TORCH = torch.__version__.partition("+")[0]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a distribution `vllm` in front of the import path, with a table of one architecture."""

    def build(version: str = "0.40.0", torch_pin: str = f"=={TORCH}") -> None:
        table = tmp_path / "vllm" / "model_executor" / "models"
        table.mkdir(parents=True)
        (tmp_path / "vllm" / "__init__.py").write_text("raise AssertionError('a check must not import vLLM')")
        (table / "registry.py").write_text('_TABLE = {\n    "LlamaForCausalLM": ("llama", "LlamaForCausalLM"),\n}\n')
        info = tmp_path / f"vllm-{version}.dist-info"
        info.mkdir()
        requirements = [
            f"torch{torch_pin}",
            "torchaudio==0.0",
            'torch==0.1; sys_platform == "nowhere"',
            'torch==0.2; extra == "zen"',
        ]
        lines = ["Metadata-Version: 2.1", "Name: vllm", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requirements)]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        monkeypatch.delitem(sys.modules, "vllm", raising=False)
        monkeypatch.syspath_prepend(tmp_path)

    return build


def llama(**changes: Any) -> LlamaConfig:
    settings = {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 3, "max_position_embeddings": 128}
    return LlamaConfig(**settings | changes, architectures=["LlamaForCausalLM"])


def test_a_vllm_made_for_this_torch_passes_whatever_the_builds_are_called(install: Any) -> None:
    install(torch_pin=f"=={TORCH}+some.build")
    check_vllm(CONFIG, llama())
    assert installed_vllm() == ("vllm", "0.40.0")


def test_a_missing_vllm_is_answered_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_config, "_DISTRIBUTIONS", ("no-such-distribution",))
    with pytest.raises(InputError) as raised:
        check_vllm(CONFIG)
    line = str(raised.value)
    assert line.startswith("engine.name: is 'vllm', but vLLM is not installed;")
    assert "pip install 'rl_distill[vllm]'" in line and "scripts/install_vllm_cpu.sh" in line and "\n" not in line


def test_a_vllm_made_for_another_torch_is_refused_with_both_versions(install: Any) -> None:
    install(torch_pin="==1.99.0")
    with pytest.raises(InputError, match=rf"vllm 0.40.0 needs torch ==1.99.0 and torch {torch.__version__.replace('+', '.')} is"):
        check_vllm(CONFIG)


def test_a_vllm_that_takes_weights_another_way_is_refused(install: Any) -> None:
    install(version="0.11.2")
    with pytest.raises(InputError, match="vllm 0.11.2 is older than 0.32"):
        check_vllm(CONFIG)


@pytest.mark.parametrize(
    ("engine", "student", "message"),
    [
        ({"tensor_parallel": 4}, {}, "engine.tensor_parallel: 4 does not divide the student's 6 attention heads; .* 1, 2, 3, 6"),
        ({"tensor_parallel": 2}, {}, "engine.tensor_parallel: 2 and the student's 3 key and value heads"),
        ({"max_model_len": 129}, {}, "engine.max_model_len: 129 exceeds the student's context of 128"),
        ({}, {"architectures": ["SeldomForCausalLM"]}, "student.model: has the architecture SeldomForCausalLM, which vLLM does"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(
    engine: dict[str, Any], student: dict[str, Any], message: str, install: Any
) -> None:
    install()
    settings = llama()
    settings.update(student)
    with pytest.raises(InputError, match=message):
        check_vllm(VllmEngineConfig(**engine), settings)


@pytest.mark.parametrize("parts", [1, 3, 6])
def test_ranks_may_share_key_heads(parts: int, install: Any) -> None:
    install()
    check_vllm(VllmEngineConfig(tensor_parallel=parts), llama())


def test_the_longest_sequence_is_the_students_context_unless_set() -> None:
    assert CONFIG.context(llama()) == 128
    assert VllmEngineConfig(max_model_len=64).context(llama()) == 64


def test_memory_is_given_in_one_way() -> None:
    with pytest.raises(ValueError, match="gpu_memory_fraction has no effect beside kv_cache_gib"):
        VllmEngineConfig(kv_cache_gib=1.0, gpu_memory_fraction=0.5)


def test_the_table_of_architectures_is_found_where_vllm_is_installed() -> None:
    pytest.importorskip("vllm")
    assert {"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"} <= vllm_config._known_architectures()
    check_vllm(CONFIG, llama())
