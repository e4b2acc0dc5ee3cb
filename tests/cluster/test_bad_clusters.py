"""What a cluster cannot give ends in one line that names the key, its value and the remedy, before anything is trained."""

import http.server
import json
import sys
import threading
from pathlib import Path

import pytest
import torch
from fake_distribution import fake_distribution
from large_student import large_student
from ray_node import free_port, ray_node
from refusals import refused
from tiny_runs import rolled_out, start_cli, taught

from rl_distill.cluster.session import Session
from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import InputError

RAY = "cluster.name=ray"


@pytest.fixture(scope="module")
def head():
    """A cluster that runs already: two cores, no GPU."""
    with ray_node() as address:
        yield address


@pytest.fixture
def train(tiny_recipe, cli):
    """Trains a tiny recipe with overrides; (exit code, stdout, stderr), of a run that got nowhere."""

    def call(*overrides, stages=(), **changes):
        recipe = tiny_recipe(*stages or [rolled_out()], **changes)
        outcome = cli("train", recipe.path, *overrides)
        assert not (recipe.run_dir / "stages").exists(), "nothing may have been trained"
        return outcome

    return call


# overrides -> the line after "error: "
REFUSED = {
    "cluster.learner.zero_stage=4": "cluster.learner.zero_stage: is 4; choose one of 0, 1, 2, 3",
    "cluster.learner.zero_stage=two": "cluster.learner.zero_stage: is 'two'; choose one of 0, 1, 2, 3",
    "cluster.learner.offload=optimizer": "cluster.learner.offload: optimizer needs zero_stage 1, 2 or 3; set one",
    "cluster.learner.offload=parameters": "cluster.learner.offload: parameters needs zero_stage 3; set it, or offload optimizer",
    "cluster.learner.offload=disk": "cluster.learner.offload: is 'disk'; choose one of none, optimizer, parameters",
    "cluster.learner.ranks=0": "cluster.learner.ranks: is 0; give a number not below 1",
    "cluster.engine.workers=0": "cluster.engine.workers: is 0; give a number not below 1",
    "cluster.engin.workers=2": "cluster.engin: is not a known key; did you mean 'engine'?",
    "cluster.name=rya": "cluster.name: is 'rya'; did you mean 'ray'? choose one of local, ray",
    "cluster.address=nowhere": "cluster.address: 'nowhere' is no address of a head node; give HOST:PORT, or auto",
    "cluster.address=head:port": "cluster.address: 'head:port' is no address of a head node; give HOST:PORT, or auto",
    "cluster.address=':6379'": "cluster.address: ':6379' is no address of a head node; give HOST:PORT, or auto",
    "cluster.address=head:70000": "cluster.address: 'head:70000' is no address of a head node; give HOST:PORT, or auto",
    "cluster.address='ray://head:10001'": "cluster.address: 'ray://head:10001' is no address of a head node; give HOST:PORT",
    "cluster.object_store_mib=100": "cluster.object_store_mib: has no effect on a cluster that runs already; drop it, or",
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_wrong_key_of_the_cluster_is_refused(override, train):
    given = [RAY] if "cluster.name" not in override else []
    address = ["cluster.address=auto"] if "object_store" in override else []
    assert refused(train(*given, *address, override)).startswith(REFUSED[override])


def test_sampling_ahead_in_one_process_is_refused(train):
    message = refused(train("stages.grpo.source.max_staleness=1"))
    assert message == "stages.grpo.source.max_staleness: 1 lets sampling run beside the learner; use cluster.name=ray, or 0"


def test_an_address_at_which_nothing_listens_is_refused(train):
    address = f"127.0.0.1:{free_port()}"
    message = refused(train(RAY, f"cluster.address={address}"))
    assert message.startswith(f"cluster.address: '{address}' does not answer ([Errno 111] Connection refused); start one there")


def test_a_host_that_does_not_exist_is_refused(train):
    message = refused(train(RAY, "cluster.address=no-such-host.invalid:6379"))
    assert message.startswith("cluster.address: 'no-such-host.invalid:6379' does not answer (")


def test_something_else_at_the_address_is_not_taken_for_ray(train):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *arguments: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        message = refused(train(RAY, f"cluster.address=127.0.0.1:{server.server_port}"))
        server.shutdown()
    assert "does not answer (something else than a Ray head node listens there); start one" in message


@pytest.mark.parametrize("library", ["ray", "deepspeed"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(library, train, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # what Python takes for a module that is not there
    message = refused(train(RAY))
    remedy = "run pip install 'rl_distill[cluster]', or set cluster.name to local"
    assert message == f"cluster.name: is 'ray', but {library} is not installed; {remedy}"


def test_a_library_that_is_too_old_is_named_with_the_version_it_must_have(train, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_distribution(tmp_path / "old", "deepspeed", "0.9.1"))
    assert refused(train(RAY)).startswith(
        "cluster.name: is 'ray', but deepspeed is 0.9.1 and must be deepspeed>=0.19; run pip install"
    )


@pytest.mark.parametrize(
    ("version", "requires", "overrides", "message"),
    [
        (None, (), (), "engine.name: is 'vllm', but vLLM is not installed; on a machine with a GPU run pip install"),
        ("0.11.0", (), (), "engine.name: is 'vllm', but vllm 0.11.0 is older than 0.32"),
        ("0.32.0", ("torch==1.2.0",), (), "engine.name: is 'vllm', but vllm 0.32.0 needs torch ==1.2.0 and torch 2."),
        (
            "0.32.0",
            (),
            ("engine.tensor_parallel=3",),
            "engine.tensor_parallel: 3 does not divide the student's 2 attention heads",
        ),
    ],
)
def test_a_vllm_that_is_missing_or_unfit_is_refused(version, requires, overrides, message, train, tmp_path, monkeypatch):
    if version is None:
        monkeypatch.setitem(sys.modules, "vllm", None)
    else:
        monkeypatch.syspath_prepend(fake_distribution(tmp_path / "other", "vllm", version, *requires, module="vllm"))
        monkeypatch.delitem(sys.modules, "vllm", raising=False)
    assert refused(train(RAY, "engine={name: vllm}", *overrides)).startswith(message)


def test_vllm_in_the_process_of_the_learner_is_refused(train, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_distribution(tmp_path / "other", "vllm", "0.32.0", module="vllm"))
    message = refused(train("engine={name: vllm}"))
    assert message == "engine.name: 'vllm' needs a process of its own; add cluster.name=ray, or use engine.name=hf"


@pytest.mark.parametrize("where", [[], [RAY]])
def test_a_model_that_the_engine_cannot_host_is_refused_by_its_configuration(where, train, tmp_path):
    sliding = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 8}
    student = large_student(tmp_path / "sliding", num_hidden_layers=1, hidden_size=16, num_attention_heads=2, **sliding)
    message = refused(train(*where, student={"model": student}))
    assert message.startswith(
        "student.model: MistralForCausalLM has layers of type sliding_attention, which the hf engine does not"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("key", "override"),
    [
        ("engine.device", "engine={name: hf, device: cuda}"),
        ("stages.grpo.learner.device", "stages.grpo.learner.device=cuda"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(key, override, train):
    assert refused(train(override)) == f"{key}: is 'cuda', and torch finds no GPU here; set it to auto or cpu"


@pytest.mark.parametrize("offload", ["none", "optimizer"])
def test_a_student_that_cannot_fit_is_refused_with_the_numbers(offload, train, tmp_path):
    student = large_student(tmp_path / "large")
    layout = ["cluster.learner.zero_stage=2", "cluster.learner.ranks=2", f"cluster.learner.offload={offload}"]
    message = refused(train(RAY, *layout, student={"model": student}, stages=[taught()]))
    field = "cluster.learner" if offload == "none" else "cluster.learner.offload"
    assert message.startswith(f"{field}: needs 4")
    assert "GiB of host memory" in message and "billion weights, ZeRO 2, 2 ranks), and there are " in message
    assert message.endswith("; use a higher zero_stage with more ranks, a smaller student, or adapters (student.lora)")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["cluster.engine.workers=9"],
            "asks for 10 CPUs (learner 1 x 1, engine 9 x 1), and the cluster has 2; lower learner.ranks",
        ),
        (
            ["cluster.learner.ranks=2", "cluster.engine.cpus=0.5"],
            "asks for 2.5 CPUs (learner 2 x 1, engine 1 x 0.5), and the clu",
        ),
        (
            ["cluster.learner.gpus=1", "cluster.learner.ranks=2"],
            "asks for 2 GPUs (learner 2 x 1, engine 1 x 0), and the cluster h",
        ),
    ],
)
def test_more_than_the_cluster_has_is_refused_with_an_account(overrides, message, train, head):
    assert refused(train(RAY, f"cluster.address={head}", *overrides)).startswith(f"cluster: {message}")


def test_a_host_with_another_version_of_a_library_is_named(train, head, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    other = fake_distribution(tmp_path / "other", "transformers", "5.11.1")
    with ray_node(head, PYTHONPATH=str(other)):
        message = refused(train(RAY, f"cluster.address={head}"))
    assert message.startswith("cluster.address: transformers is 5.11.1 on host ")
    assert message.endswith(", which drives the run; install the same versions on all hosts")


@pytest.fixture
def claim(head):
    """Has the cluster claim that it runs other versions, as far as a driver that joins it can tell; the truth comes back."""
    from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
    from ray._raylet import GcsClient

    client = GcsClient(address=head)
    ask = (b"CLUSTER_METADATA", KV_NAMESPACE_CLUSTER)
    truth = client.internal_kv_get(*ask)
    assert truth is not None

    def put(**versions: str) -> None:
        client.internal_kv_put(ask[0], json.dumps(json.loads(truth) | versions).encode(), True, ask[1])

    yield put
    client.internal_kv_put(ask[0], truth, True, ask[1])


@pytest.mark.parametrize("versions", [{"ray_version": "2.41.0"}, {"python_version": "3.12.1"}])
def test_a_cluster_of_another_ray_or_python_is_refused_with_both_versions(versions, claim, head, tiny_recipe, tmp_path: Path):
    claim(**versions)
    process = start_cli("train", tiny_recipe(rolled_out()).path, RAY, f"cluster.address={head}")
    out, err = process.communicate(timeout=120)
    message = refused((process.returncode, out, err))
    assert message.startswith(f"cluster.address: '{head}' refuses (Version mismatch: The cluster was started with: Ray: ")
    assert next(iter(versions.values())) in message and "This process" in message
    assert not (tmp_path / "run" / "stages").exists()


def test_after_a_refused_connection_the_same_process_can_connect(claim, head):
    claim(ray_version="2.41.0")
    with pytest.raises(InputError, match="Version mismatch"):
        Session(RayCluster(address=head))
    claim()
    Session(RayCluster(address=head)).close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Exception("The current node timed out during startup. This could happen because"), "its node was not ready in time"),
        (TimeoutError("waited\nfor gcs"), "its node was not ready in time"),
        (RuntimeError("no room for\nthe store"), "no room for the store"),
    ],
)
def test_a_cluster_that_does_not_come_up_is_refused_in_a_line_whatever_ray_raises(error, reason, monkeypatch):
    def init(**options):
        raise error

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(InputError) as refusal:
        Session(RayCluster())
    assert str(refusal.value).startswith(f"cluster.name: a Ray cluster for this run cannot be started ({reason}); start it again")
