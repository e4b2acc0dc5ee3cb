"""What must hold for every entry of the algorithms table, on a real (tiny, float64) model and ragged attempts."""

import pickle
from dataclasses import fields, replace

import pytest
import torch
from graded_groups import GROUPS, SEEDS, TEACHER_COLUMNS, VOCABULARY, attempt, groups_of, samples_of
from pydantic import ValidationError
from transformers import Qwen2Config, Qwen2ForCausalLM

from rl_distill.algorithms import ALGORITHMS
from rl_distill.algorithms.base import TEACHER_NEEDS, Need
from rl_distill.batch import PolicyOutput, collate, source_names, totals
from rl_distill.config import dump, parse
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.micro_steps import accumulate, term_metrics
from rl_distill.learning.step_plan import TermShare, parted, split
from rl_distill.models.logprobs import policy_output
from rl_distill.trajectory import Group, Score


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    settings = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(settings).double().eval()


def step(model, algorithm, samples, max_tokens: int):
    """Metrics and the gradient of every parameter after one whole step."""
    model.zero_grad(set_to_none=True)

    def forward(batch):
        return policy_output(
            model,
            batch.token_ids,
            batch.attention_mask,
            batch.loss_mask | batch.lesson_mask,
            chunk_tokens=5,
            compared=batch.compared(algorithm.candidates),
        )

    sources = source_names(samples)
    moving, still = parted(algorithm, samples)
    share = TermShare(
        term=LossTerm(algorithm=algorithm),
        samples=samples,
        sources=sources,
        counts=totals(samples, sources, torch.float64),
        passes=max(1, len(list(split(moving, max_tokens)))),
        still_passes=len(list(split(still, max_tokens))),
        filler=samples[:1],
    )
    metrics = term_metrics(share, [accumulate(share, forward, pad_id=0, max_tokens=max_tokens)])
    return metrics, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def policy_for(batch, algorithm, seeds=SEEDS, outside: float = 0.0) -> PolicyOutput:
    """Any log-probs of a student, where the algorithm reads them, with gradient; `outside` stands where nothing was sampled."""

    def column(*shape: int) -> torch.Tensor:
        values = -2 * torch.rand(*shape, generator=seeds, dtype=torch.float64)
        values[~(batch.loss_mask | batch.lesson_mask)] = outside
        return values.requires_grad_()

    shape = batch.token_ids.shape
    compared = algorithm.candidates is not None
    others = column(*batch.teacher_candidate_logprobs.shape) if compared else None
    return PolicyOutput(column(*shape), None, others)


def gradients(loss, policy) -> list[torch.Tensor]:
    """By everything that was read of the student, [B, T, ...]."""
    read = [policy.logprobs] if policy.candidate_logprobs is None else [policy.logprobs, policy.candidate_logprobs]
    return list(torch.autograd.grad(loss, read, materialize_grads=True))


ALL = pytest.mark.parametrize("name", ALGORITHMS)


@ALL
@pytest.mark.parametrize("max_tokens", [1, 20, 40])
def test_micro_batches_add_up_to_the_step(model, name, max_tokens):
    algorithm = ALGORITHMS[name]()
    samples = samples_of(algorithm)
    whole_metrics, whole = step(model, algorithm, samples, 10_000)
    metrics, parts = step(model, algorithm, samples, max_tokens)
    assert metrics["learner/micro_batches"] > whole_metrics["learner/micro_batches"] == 1
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key], atol=1e-10, rtol=0)
    for path in whole_metrics.keys() - {"learner/micro_batches", "learner/padding_fraction"}:
        assert metrics[path] == pytest.approx(whole_metrics[path], abs=1e-10), path


@ALL
def test_order_of_samples_does_not_matter(model, name):
    algorithm = ALGORITHMS[name]()
    samples = samples_of(algorithm)
    _, one = step(model, algorithm, samples, 60)
    _, other = step(model, algorithm, samples[::-1], 60)
    for key in one:
        torch.testing.assert_close(one[key], other[key], atol=1e-10, rtol=0)


@ALL
def test_gradient_reaches_sampled_tokens_and_nothing_else(name):
    algorithm = ALGORITHMS[name]()
    samples = samples_of(algorithm)
    sources = source_names(samples)
    batch = collate(samples, pad_id=0, sources=sources, dtype=torch.float64)
    policy = policy_for(batch, algorithm, outside=float("nan"))  # whatever stands outside the mask must never be looked at
    out = algorithm.loss(policy, batch, totals(samples, sources, torch.float64))
    found = gradients(out.loss, policy)
    assert torch.isfinite(out.loss)
    assert all(torch.isfinite(value) for value in out.metrics.values())
    assert sum(gradient[batch.loss_mask].abs().sum() for gradient in found) > 0
    assert batch.lesson_mask.any() == algorithm.imitates_lessons
    assert all(gradient[batch.lesson_mask].abs().sum() > 0 for gradient in found if algorithm.imitates_lessons)
    assert not any(gradient[~(batch.loss_mask | batch.lesson_mask)].nan_to_num(1.0).any() for gradient in found)


@ALL
def test_a_source_is_normalised_on_its_own_totals(model, name):
    """Two copies of the data as two sources give twice the gradient of one: neither dilutes the other."""
    algorithm = ALGORITHMS[name]()
    one = samples_of(algorithm, "a")
    renamed = [replace(sample, source="b", unit=f"b{sample.unit}" if sample.unit else "") for sample in one]
    _, single = step(model, algorithm, one, 10_000)
    _, double = step(model, algorithm, [*one, *renamed], 10_000)
    for key in single:
        torch.testing.assert_close(double[key], 2 * single[key], atol=1e-10, rtol=0)


@ALL
def test_an_unverifiable_attempt_changes_nobodys_credit(name):
    algorithm = ALGORITHMS[name]()
    for group in groups_of(algorithm):
        known = replace(group, trajectories=tuple(t for t in group.trajectories if t.status != "unverifiable"))
        found = algorithm.samples(group)
        if algorithm.needs & TEACHER_NEEDS:  # which judges that attempt too, and by no reward
            found = [sample for sample in found if sample.trajectory.status != "unverifiable"]
        assert found == algorithm.samples(known)


@ALL
def test_values_pickle_compare_and_survive_yaml(name):
    algorithm = ALGORITHMS[name]()
    assert pickle.loads(pickle.dumps(algorithm)) == algorithm
    assert parse(ALGORITHMS[name], dump(algorithm)) == algorithm
    assert algorithm.name == name


@ALL
def test_needs_are_what_the_loss_touches(name):
    """A column that `needs` does not name can be absent; one that it names cannot."""
    algorithm = ALGORITHMS[name]()
    columns = {
        Need.BEHAVIOR_LOGPROBS: "behavior_logprobs",
        Need.REFERENCE_LOGPROBS: "reference_logprobs",
        Need.REFERENCE_CREDIT: "reference_logprobs",
        Need.TEACHER_LOGPROBS: "teacher_logprobs",
        Need.TEACHER_CANDIDATES: "teacher_candidate_logprobs",
    }
    named = {columns[need] for need in algorithm.needs if need in columns}

    def run(absent: set[str]) -> None:
        groups = [
            replace(group, trajectories=tuple(replace(t, **dict.fromkeys(absent)) for t in group.trajectories))
            for group in groups_of(algorithm)
        ]
        samples = [sample for group in groups for sample in algorithm.samples(group)]
        batch = collate(samples, pad_id=0, sources=("",), dtype=torch.float64)
        ones = torch.full(batch.token_ids.shape, -1.0, dtype=torch.float64)
        others = None if batch.compared(algorithm.candidates) is None else -torch.ones_like(batch.teacher_candidate_logprobs)
        algorithm.loss(PolicyOutput(ones, None, others), batch, totals(samples, ("",), torch.float64))

    run({"behavior_logprobs", "reference_logprobs", "proximal_logprobs", *TEACHER_COLUMNS[::2]} - named)
    for column in named:
        with pytest.raises(ValueError, match="log-probs|logprobs"):
            run({column})


# What a key must be set beside, to be read at all.
BESIDE = {
    "dual_clip": {},
    "log_clip": {"surrogate": "gmpo"},
    "tau_positive": {"surrogate": "sapo"},
    "tau_negative": {"surrogate": "sapo"},
    "std": {"advantage": "group_std"},
    "std_eps": {"advantage": "group_std"},
    "correction_cap": {"correction": "token_tis"},
    "correction_floor": {"correction": "token_mask", "correction_cap": 4.0},
    "max_refills": {"drop_flat_groups": True},
    "kl_estimator": {"kl_coef": 0.1, "kl_place": "loss", "kl_estimator": "k2"},
    "kl_place": {"kl_coef": 0.1, "kl_estimator": "k3", "max_refills": 0},
    "clip_low": {"surrogate": "clip"},
    "clip_high": {"surrogate": "clip"},
    "ratio": {"surrogate": "clip"},
    "gamma": {},
    "support": {"beta": 0.0},
    "nu": {"coherence": "paper_gate"},
    "margin": {"coherence": "gain"},
}
OTHER = {
    "dual_clip": 1.01,
    "ratio_cap": 1.01,
    "constant_tokens": 7,
    "max_refills": 3,
    "kl_estimator": "k3",
    "correction": "token_tis",
    "surrogate": "reinforce",
    "traces": "all",
    "num_candidates": 3,
    "support": "drawn",
    "correction_cap": 1.1,
    "correction_floor": 0.99,
    "coherence": "none",
    "nu": 50.0,
}
CHOICES = {
    "advantage": "raw",
    "std": "population",
    "whitening": "token",
    "ratio": "sequence_mean",
    "kl_place": "reward",
    "old_policy": "behavior",
}


def cases():
    for name, cls in ALGORITHMS.items():
        for field in fields(cls):
            if field.name != "name":
                yield name, field.name


def other_value(value, key):
    if key == "aggregation":
        return "token_mean" if value == "sequence_sum" else "sequence_sum"
    if key == "traces" and value == "all":
        return "first_correct"
    if key in OTHER and OTHER[key] != value:
        return OTHER[key]
    if key in CHOICES:
        return (
            CHOICES[key] if CHOICES[key] != value else {"sequence_mean": "token", "reward": "loss", "population": "sample"}[value]
        )
    if isinstance(value, bool):
        return not value
    return 0.3 * value + 0.06


@pytest.mark.parametrize(("name", "key"), list(cases()))
def test_no_key_without_effect(name, key):
    """Setting a key changes the credit, the loss, the gradient or how often rollouts are refilled, or it is refused."""

    def outcome(algorithm):
        groups = groups_of(algorithm)
        even = [replace(t, score=Score(value=1.0, verdict=None)) for t in groups[0].trajectories if t.origin == "policy"]
        flat = replace(groups[0], trajectories=tuple(even))
        samples = algorithm.finish([sample for group in [*groups, flat] for sample in algorithm.samples(group)])
        batch = collate(samples, pad_id=0, sources=("",), dtype=torch.float64)
        policy = policy_for(batch, algorithm, torch.Generator().manual_seed(1))
        out = algorithm.loss(policy, batch, totals(samples, ("",), torch.float64))
        gradient = sum(slope.sum() for slope in gradients(out.loss, policy))
        credit = [(sample.advantage, sample.label, sample.trajectory) for sample in samples]
        asked = (getattr(algorithm, "max_refills", 0), algorithm.candidates, algorithm.needs_warm_start)
        return credit, out.loss.item(), gradient.item(), asked

    beside = {other: value for other, value in BESIDE.get(key, {}).items() if other != key or key == "kl_estimator"}
    base = ALGORITHMS[name](**beside)
    try:
        changed = replace(base, **{key: other_value(getattr(base, key), key)})
    except ValidationError as refusal:
        assert key in str(refusal)
        return
    assert outcome(base) != outcome(changed)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo", "rloo", "cispo", "exgrpo"])
def test_on_the_first_pass_nothing_is_clipped_whatever_precision_sampled(name):
    """The sampler's log-probs here differ widely from the policy's; the policy is still its own old policy."""
    algorithm = ALGORITHMS[name]()
    samples = [replace(s, trajectory=replace(s.trajectory, proximal_logprobs=None)) for s in samples_of(algorithm)]
    batch = collate(samples, pad_id=0, sources=("",), dtype=torch.float64)
    logprobs = -torch.rand(batch.token_ids.shape, generator=SEEDS, dtype=torch.float64)
    metrics = algorithm.loss(PolicyOutput(logprobs), batch, totals(samples, ("",), torch.float64)).metrics
    assert metrics["policy/ratio"] == pytest.approx(1.0, abs=1e-12)
    assert metrics.get("policy/clip_low_fraction", 0) == metrics.get("policy/clip_high_fraction", 0) == 0
    assert metrics["policy/mismatch_kl"] > 0.01


def test_dynamic_sampling_looks_at_verdicts_and_not_at_shaping_rewards():
    """Four right attempts whose lengths earn them different rewards teach nothing about being right."""
    attempts = tuple(attempt("p", (1, 2), 3, True, reward) for reward in (1.0, 1.0, 1.0, 0.99))
    group = Group(problem=GROUPS[0].problem, trajectories=attempts)
    assert ALGORITHMS["dapo"]().samples(group) == []
    assert len(ALGORITHMS["grpo"]().samples(group)) == 4
    mixed = replace(group, trajectories=(*attempts[:3], attempt("p", (1, 2), 3, False, 1.0)))
    assert len(ALGORITHMS["dapo"]().samples(mixed)) == 4


def test_split_keeps_units_whole_and_loses_nothing():
    algorithm = ALGORITHMS["redi"]()
    samples = samples_of(algorithm)
    parts = list(split(samples, 1))
    assert sorted(id(sample) for part in parts for sample in part) == sorted(map(id, samples))
    for part in parts:
        assert len(part) == 2 and len({sample.unit for sample in part}) == 1


def test_a_lesson_that_no_algorithm_reads_is_refused_and_not_lost(model):
    algorithm = ALGORITHMS["sft"]()
    samples = samples_of(algorithm)
    with pytest.raises(ValueError, match="lesson: algorithm 'sft' reads none"):
        step(model, algorithm, [*samples, replace(samples[0], lesson=True)], 10_000)


def test_columns_that_an_algorithm_does_not_need_may_be_there_for_some_rows_only(model):
    """A teacher's attempt beside one of the student's: any algorithm may read both."""
    algorithm = ALGORITHMS["redi"]()
    samples = samples_of(algorithm)
    bare = replace(samples[0].trajectory, behavior_logprobs=None, reference_logprobs=None, proximal_logprobs=None)
    bare = replace(bare, **dict.fromkeys(TEACHER_COLUMNS))
    mixed = [replace(samples[0], trajectory=bare), *samples[1:]]
    assert step(model, algorithm, mixed, 10_000)[0]["loss"] == step(model, algorithm, samples, 10_000)[0]["loss"]
