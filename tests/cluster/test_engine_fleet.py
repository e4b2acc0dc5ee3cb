"""Engine workers: the same attempts whoever samples them, weights that prove they arrived, and weights that come on the way."""

import threading
from dataclasses import replace

import pytest
import ray_processes
import torch

from rl_distill.cluster.engine_fleet import EngineFleet
from rl_distill.cluster.engine_worker import EngineWorker
from rl_distill.cluster.weight_store import StoredTensors, put, stored
from rl_distill.errors import RunError
from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.loading import Architecture, load_model, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.models.weights import WeightUpdate
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.engine import Sampling, load_checked
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.text import PromptFormat

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(hidden_size=32, intermediate_size=64, num_layers=2, max_context=160, initializer_range=0.2)
CONFIG = HfEngineConfig(shard_size=5, max_concurrent=4, device="cpu")


@pytest.fixture(scope="module", autouse=True)
def session():
    with ray_processes.session():
        yield


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("student")
    save_pretrained(SHAPE.build(TOKENIZER), TOKENIZER, folder)
    return str(folder)


@pytest.fixture(scope="module")
def fleets(session, student):
    """Of one worker and of three."""
    made = {count: EngineFleet(student, TOKENIZER, CONFIG, ray_processes.crew(workers=count), name="s") for count in (1, 3)}
    yield made
    for fleet in made.values():
        fleet.close()


def requests(count: int, max_tokens: int = 30):
    prompter = Prompter(tokenizer=TOKENIZER, format=PromptFormat(), max_context=160)
    sampling = Sampling(max_tokens=max_tokens)
    prompts = prompter.prompts(Arithmetic(num_problems=count).groups(), sampling, field="test")
    return [prompt.request(sampling, 0, sample) for prompt in prompts for sample in range(3)]


def moved(student: str, version: int, shift: float = 0.05) -> WeightUpdate:
    draw = torch.Generator().manual_seed(version)
    tensors = {
        name: tensor + shift * torch.randn(tensor.shape, generator=draw)
        for name, tensor in named_weights(load_model(student)).items()
    }
    num_bytes = sum(tensor.nbytes for tensor in tensors.values())
    return WeightUpdate(version=version, tensors=tensors, digests=weight_digests(tensors), num_bytes=num_bytes)


def test_one_worker_three_workers_and_this_process_sample_the_same_to_the_bit(fleets, student):
    asked = requests(7)
    alone = HfEngine(load_model(student), TOKENIZER, CONFIG, name="s").generate(asked)
    for fleet in fleets.values():
        assert fleet.generate(asked) == alone
    tickets = [fleets[3].submit(asked[start : start + 5]) for start in range(0, len(asked), 5)]
    results = [fleets[3].collect(ticket) for ticket in reversed(tickets)]
    assert len({result.worker for result in results}) == 3, "the work must have been shared"
    assert [attempt for result in reversed(results) for attempt in result.trajectories] == alone


def test_new_weights_reach_every_worker_and_are_what_it_samples_with(fleets, student):
    asked, update = requests(5), moved(student, 7)
    alone = HfEngine(load_model(student), TOKENIZER, CONFIG, name="s")
    load_checked(alone, update)
    for fleet in fleets.values():
        load_checked(fleet, update)
        assert fleet.version == 7
        assert fleet.generate(asked) == alone.generate(asked)
        assert len(fleet.canaries(asked[0])) == fleet.num_workers
        load_checked(fleet, moved(student, 8, shift=0.0))


def test_a_tensor_that_changed_on_its_way_is_named(fleets, student):
    update = moved(student, 9)
    name = "model.layers.1.mlp.up_proj.weight"
    broken = replace(update, tensors=update.tensors | {name: update.tensors[name] * 1.01})
    with pytest.raises(RunError, match=f"engine worker 0 holds other weights .* 1 of 20 tensors differ, such as '{name}'"):
        fleets[3].load_weights(broken)


@pytest.mark.parametrize(
    ("name", "change"), [("lm_head.extra", "add"), ("model.norm.weight", "drop"), ("model.norm.weight", "cut")]
)
def test_weights_that_do_not_fit_are_refused_and_named(name, change, fleets, student):
    update = moved(student, 10)
    tensors = dict(update.tensors)
    if change == "drop":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(3)
    with pytest.raises(ValueError, match=name):
        fleets[1].load_weights(replace(update, tensors=tensors))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stored_tensors_are_those_that_were_put_bucket_by_bucket(dtype):
    tensors = {name: torch.randn(4, 3).to(dtype) for name in "abc"}
    found = StoredTensors([put({"a": tensors["a"]}), put({name: tensors[name] for name in "bc"})], {"a": 0, "b": 1, "c": 1})
    assert list(found) == ["a", "b", "c"] and len(found) == 3
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype and torch.equal(found[name], tensor)
    update = WeightUpdate(version=0, tensors=found, digests={}, num_bytes=0)
    assert stored(update) is update


def test_a_worker_that_fails_says_why_in_its_own_words(fleets):
    asked = requests(1)[0]
    with pytest.raises(ValueError, match="the prompt of problem .* is empty"):
        fleets[3].generate([replace(asked, token_ids=())])
    assert len(fleets[3].generate([asked])) == 1


def test_abandoned_shards_leave_the_workers_free(fleets):
    fleet = fleets[1]
    long = [replace(request, sampling=Sampling(max_tokens=120, stop_tokens=())) for request in requests(3)]
    tickets = [fleet.submit(long[:5]) for _ in range(4)]
    fleet.abandon()
    with pytest.raises(RunError, match="was abandoned"):
        fleet.collect(tickets[0])
    assert len(fleet.generate(requests(1))) == 3


def worker(student: str) -> EngineWorker:
    made = EngineWorker(student, TOKENIZER, CONFIG, "s", 0, 1)
    assert made.ready() == 0
    return made


def test_weights_that_come_while_a_shard_is_decoded_are_used_from_the_next_step_on(student):
    """Tokens before the swap are those of the old weights; each token says which weights it came from."""
    asked, update = requests(2, max_tokens=60)[:4], moved(student, 1, shift=0.5)
    old = worker(student).sample(asked)
    assert old is not None and old.swaps == ((0, 0),)
    busy = worker(student)
    reached, between = threading.Event(), busy.engine.before_step
    assert between is not None

    def slow() -> None:
        if busy._steps == 7:
            reached.set()
            while not busy._wanted.is_set():  # until the new weights knock
                pass
        between()

    busy.engine.before_step = slow
    result: list = []
    sampling = threading.Thread(target=lambda: result.append(busy.sample(asked)))
    sampling.start()
    reached.wait()
    assert busy.load_weights(update) == update.digests
    sampling.join()
    (found,) = result
    assert found.swaps == ((0, 0), (7, 1))
    for one, other in zip(found.trajectories, old.trajectories, strict=True):
        versions = [made for made, own in zip(one.policy_versions, one.sampled, strict=True) if own]
        assert versions == sorted(versions), "versions never fall"
        prompt = len(one.token_ids) - len(versions)
        before = prompt + versions.count(0)
        assert one.token_ids[:before] == other.token_ids[:before]
    assert any(1 in (one.policy_versions or ()) for one in found.trajectories)
    assert [one.token_ids for one in found.trajectories] != [one.token_ids for one in old.trajectories]
    assert busy.load_weights(moved(student, 2)) and busy.engine.version == 2, "an idle worker takes weights at once"
