"""GRPO and its variants. One formula with named choices; a variant is a set of defaults and nothing else.

    loss = reduce_t( w_t * surrogate(log r_t, A) ) + kl_coef * reduce_t( kl_t )

r compares the policy with what it was just before the round's updates (`old_policy: proximal`): the learner's own log-probs, so
that r is 1 on the first pass whatever engine or precision sampled. w is the `correction` for what sampler and learner disagree
on. A is the attempt's advantage, the same for all of its tokens.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from rl_distill.algorithms import surrogates
from rl_distill.algorithms.advantages import BASELINES, StdKind, standardized, whitened_by_token
from rl_distill.algorithms.base import Algorithm, LossOutput, Need
from rl_distill.algorithms.reductions import REDUCTIONS, token_mean
from rl_distill.algorithms.selection import rewarded
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample, Trajectory

GRPO_PAPER = "arXiv:2402.03300"
AdvantageName = Literal["raw", "group_center", "group_std", "leave_one_out"]
RatioName = Literal["token", "sequence_mean", "sequence_sum"]
SurrogateName = Literal["clip", "cispo", "gmpo", "sapo", "reinforce"]
ReductionName = Literal["token_mean", "sequence_mean", "sequence_sum"]
CorrectionName = Literal["none", "token_tis", "sequence_tis", "token_mask", "decoupled"]

# A key that nothing would read is an error, not a silent no-op: key -> (the switch it depends on, the values that read it).
EFFECTIVE_WHEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "std": ("advantage", ("group_std",)),
    "std_eps": ("advantage", ("group_std",)),
    "ratio": ("surrogate", ("clip", "cispo", "sapo")),
    "old_policy": ("surrogate", ("clip", "cispo", "sapo", "gmpo")),
    "clip_low": ("surrogate", ("clip", "cispo")),
    "clip_high": ("surrogate", ("clip", "cispo")),
    "dual_clip": ("surrogate", ("clip",)),
    "ratio_cap": ("surrogate", ("clip",)),
    "log_clip": ("surrogate", ("gmpo",)),
    "tau_positive": ("surrogate", ("sapo",)),
    "tau_negative": ("surrogate", ("sapo",)),
    "correction_cap": ("correction", ("token_tis", "sequence_tis", "token_mask")),
    "correction_floor": ("correction", ("token_mask",)),
}


@config
class Grpo(Algorithm):
    """Group relative policy optimization (arXiv:2402.03300): the group's mean is the baseline, its standard deviation the unit.

    A_i = (R_i - mean R) / (std R + std_eps);  loss = mean_i 1/L_i sum_t [ -min(r A, clip(r) A) + kl_coef * k3 ]
    """

    name: Literal["grpo"] = "grpo"
    advantage: AdvantageName = setting("group_std", about="baseline and unit of the credit", source=GRPO_PAPER)
    std: StdKind = setting(
        "sample", about="divisor n-1 or n inside group_std", source="the paper is silent; TRL and verl use n-1"
    )
    std_eps: float = setting(1e-6, about="added to the standard deviation", source="the paper is silent; verl", ge=0)
    whitening: Literal["none", "token"] = setting(
        "none", about="normalise credit over all tokens of the step", source="arXiv:2501.03262"
    )
    ratio: RatioName = setting("token", about="what is compared between new and old policy", source=GRPO_PAPER)
    old_policy: Literal["proximal", "behavior"] = setting(
        "proximal",
        about="what the ratio compares with: the learner before its update, or the sampler's log-probs",
        source=GRPO_PAPER,
    )
    surrogate: SurrogateName = setting("clip", about="what limits the step", source=GRPO_PAPER)
    clip_low: float = setting(0.2, about="ratio is clipped at 1 - clip_low", source="the paper is silent; TRL and verl", ge=0)
    clip_high: float = setting(0.2, about="ratio is clipped at 1 + clip_high", source="the paper is silent; TRL and verl", ge=0)
    dual_clip: float | None = setting(
        None, about="loss of a bad attempt is at most this times |A|; 3 is usual", source="arXiv:1912.09729", gt=1
    )
    ratio_cap: float | None = setting(
        None, about="two-sided clip: the ratio never counts above this", source="arXiv:2505.07291", gt=1
    )
    log_clip: float = setting(0.4, about="gmpo: clip of the log-ratio", source="arXiv:2507.20673", gt=0)
    tau_positive: float = setting(1.0, about="sapo: steepness for good attempts", source="arXiv:2511.20347", gt=0)
    tau_negative: float = setting(1.05, about="sapo: steepness for bad attempts", source="arXiv:2511.20347", gt=0)
    aggregation: ReductionName = setting("sequence_mean", about="how token losses become the step's loss", source=GRPO_PAPER)
    constant_tokens: int | None = setting(None, about="divide each attempt's loss by this length too", unit="tokens", ge=1)
    kl_coef: float = setting(0.04, about="weight of the KL to the reference; 0 needs no reference", source=GRPO_PAPER, ge=0)
    kl_estimator: Literal["k1", "k2", "k3", "k3_ratio"] = setting("k3", about="how the KL is estimated", source=GRPO_PAPER)
    kl_place: Literal["loss", "reward"] = setting(
        "loss", about="added to the loss, or subtracted from the reward", source=GRPO_PAPER
    )
    correction: CorrectionName = setting(
        "none", about="treatment of sampler and learner disagreeing on log-probs", source="arXiv:2505.24298"
    )
    correction_cap: float = setting(2.0, about="largest correction weight", source="Yao et al. 2025 (TIS)", gt=0)
    correction_floor: float = setting(0.5, about="token_mask drops tokens whose weight is smaller", source="IcePop", ge=0)
    drop_flat_groups: bool = setting(False, about="leave groups out that are all right or all wrong", source="arXiv:2503.14476")
    max_refills: int = setting(0, about="sample up to this many further rounds to replace groups left out", unit="rounds", ge=0)
    mask_truncated: bool = setting(
        False, about="truncated attempts stay in the baseline but are not trained on", source="arXiv:2503.14476"
    )

    def __post_init__(self) -> None:
        for key, (switch, values) in EFFECTIVE_WHEN.items():
            default = type(self).__pydantic_fields__[key].default  # type: ignore[attr-defined]
            if getattr(self, switch) not in values and getattr(self, key) != default:
                raise ValueError(f"{key} has no effect unless {switch} is {' or '.join(values)}: set that, or drop {key}")
        for key in ("kl_estimator", "kl_place"):
            if not self.kl_coef and getattr(self, key) != type(self).__pydantic_fields__[key].default:  # type: ignore[attr-defined]
                raise ValueError(f"{key} has no effect while kl_coef is 0: raise kl_coef, or drop {key}")
        if self.correction != "none" and self.old_policy == "behavior":
            raise ValueError("old_policy behavior leaves nothing to correct: use correction none, or old_policy proximal")
        if self.max_refills and not self.drop_flat_groups:
            raise ValueError("max_refills has no effect unless drop_flat_groups is true: set it, or drop max_refills")
        if self.max_refills and self.kl_coef and self.kl_place == "reward":
            raise ValueError(
                "max_refills cannot tell a flat group while the KL is part of the reward: use kl_place loss, or drop max_refills"
            )
        if self.kl_place == "reward" and self.kl_estimator == "k3_ratio":
            raise ValueError("kl_estimator k3_ratio needs kl_place loss: in the reward there is no ratio")
        if self.kl_place == "loss" and self.kl_estimator == "k1" and self.kl_coef:
            raise ValueError("kl_estimator k1 in the loss has zero expected gradient: use k2 or k3, or kl_place reward")

    @property
    def min_group_size(self) -> int:
        return 1 if self.advantage == "raw" else 2

    @property
    def needs_signed_rewards(self) -> bool:
        return self.advantage == "raw" and self.whitening == "none"

    @property
    def needs(self) -> frozenset[Need]:
        needs = {Need.BEHAVIOR_LOGPROBS}
        if self.old_policy == "proximal":
            needs.add(Need.PROXIMAL_LOGPROBS)
        if self.kl_coef:
            needs.add(Need.REFERENCE_CREDIT if self.kl_place == "reward" else Need.REFERENCE_LOGPROBS)
        return frozenset(needs)

    def samples(self, group: Group) -> list[Sample]:
        scored = rewarded(group)
        return self._credited(scored, [self._reward(trajectory) for trajectory in scored])

    def _credited(self, scored: Sequence[Trajectory], rewards: Sequence[float], added: Sequence[float] = ()) -> list[Sample]:
        """Attempts that are each other's baseline, with their credit; `added` comes on top of it."""
        if len(scored) < self.min_group_size or (self.drop_flat_groups and _flat(scored)):
            return []
        if self.advantage == "group_std":
            credits = standardized(rewards, self.std, self.std_eps)
        else:
            credits = BASELINES[self.advantage](rewards)
        return [
            Sample(trajectory=trajectory, advantage=credit + more)
            for trajectory, credit, more in zip(scored, credits, added or [0.0] * len(scored), strict=True)
            if not (self.mask_truncated and trajectory.finish_reason == "length")
        ]

    def finish(self, samples: Sequence[Sample]) -> list[Sample]:
        if self.whitening == "none" or not samples:
            return list(samples)
        lengths = [sample.trajectory.num_sampled for sample in samples]
        whitened = whitened_by_token([sample.advantage for sample in samples], lengths)
        return [replace(sample, advantage=value) for sample, value in zip(samples, whitened, strict=True)]

    def moves(self, sample: Sample) -> bool:
        """An advantage of 0, as in a flat group, is a factor of every surrogate; only a KL in the loss pulls there.

        A subclass from elsewhere may have another loss, so there every sample moves until it says otherwise itself.
        """
        if not type(self).__module__.startswith("rl_distill."):
            return True
        return sample.advantage != 0 or sample.lesson or bool(self.kl_coef and self.kl_place == "loss")

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        mask = batch.loss_mask
        new = policy.logprobs.masked_fill(~mask, 0.0)
        behavior = _required(batch.behavior_logprobs, "behavior_logprobs")
        old, weight = self._old(new, behavior, batch), None
        if self.correction != "none":
            weight = surrogates.correction_weight(
                self.correction,
                (old - behavior).masked_fill(~mask, 0.0),
                mask,
                cap=self.correction_cap,
                floor=self.correction_floor,
            )
        token_log_ratio = (new - old).masked_fill(~mask, 0.0)
        log_ratio = surrogates.LOG_RATIOS[self.ratio](token_log_ratio, mask)
        advantage = batch.advantages[:, None].expand_as(new)
        values = self._surrogate(log_ratio, token_log_ratio, advantage, new, mask)
        policy_loss = self._reduce(values if weight is None else values * weight, batch, totals)
        metrics = {
            "loss/policy": policy_loss.detach(),
            **self._ratio_metrics(log_ratio, advantage, new - behavior, batch, totals),
        }
        loss = policy_loss
        if self.kl_coef:
            reference = _required(batch.reference_logprobs, "reference_logprobs")
            estimator = self.kl_estimator if self.kl_place == "loss" else "k3"
            kl = surrogates.kl_estimate(estimator, new, reference, token_log_ratio)
            metrics["policy/kl_reference"] = token_mean(kl.detach(), mask, batch, totals)
            if self.kl_place == "loss":
                kl_loss = self.kl_coef * self._reduce(kl, batch, totals)
                metrics["loss/kl"] = kl_loss.detach()
                loss = loss + kl_loss
        return LossOutput(loss, metrics, credited=policy_loss)

    def summarize(self, metrics: dict[str, float]) -> dict[str, float]:
        weight, square = metrics.pop("ess_weight"), metrics.pop("ess_square")
        return metrics | {"policy/ess_fraction": weight**2 / square if square else 0.0}

    def _old(self, new: Tensor, behavior: Tensor, batch: Batch) -> Tensor:
        """What the ratio compares with. Without a column of its own the policy has not moved yet: it is its own past."""
        if self.old_policy == "behavior":
            return behavior
        return new.detach() if batch.proximal_logprobs is None else batch.proximal_logprobs

    def _reward(self, trajectory: Trajectory) -> float:
        reward = trajectory.reward
        assert reward is not None, "only rewarded trajectories get here"
        if self.kl_place == "loss" or not self.kl_coef:
            return reward
        behavior, reference = trajectory.behavior_logprobs, trajectory.reference_logprobs
        if behavior is None or reference is None:
            raise ValueError(
                f"kl_place: reward needs behavior and reference log-probs, which problem {trajectory.problem_id!r} lacks"
            )
        new, ref = (torch.tensor(column, dtype=torch.float64)[None, :] for column in (behavior, reference))
        kl = surrogates.kl_estimate(self.kl_estimator, new, ref, torch.zeros_like(new))
        return reward - self.kl_coef * float(kl[0][torch.tensor(trajectory.sampled)].sum())

    def _surrogate(self, log_ratio: Tensor, token_log_ratio: Tensor, advantage: Tensor, new: Tensor, mask: Tensor) -> Tensor:
        if self.surrogate == "clip":
            return surrogates.clipped(
                log_ratio, advantage, low=self.clip_low, high=self.clip_high, dual=self.dual_clip, ratio_cap=self.ratio_cap
            )
        if self.surrogate == "cispo":
            return surrogates.cispo(log_ratio, advantage, new, low=self.clip_low, high=self.clip_high)
        if self.surrogate == "gmpo":
            return surrogates.gmpo(token_log_ratio, advantage, mask, log_clip=self.log_clip)
        if self.surrogate == "sapo":
            return surrogates.sapo(log_ratio, advantage, tau_positive=self.tau_positive, tau_negative=self.tau_negative)
        return surrogates.reinforce(advantage, new)

    def _reduce(self, values: Tensor, batch: Batch, totals: Totals) -> Tensor:
        reduced = REDUCTIONS[self.aggregation](values, batch.loss_mask, batch, totals)
        return reduced / self.constant_tokens if self.constant_tokens else reduced

    def _ratio_metrics(
        self, log_ratio: Tensor, advantage: Tensor, mismatch: Tensor, batch: Batch, totals: Totals
    ) -> dict[str, Tensor]:
        """How far the policy has moved from what sampled the tokens, and how often that limits the step (token means)."""
        with torch.no_grad():
            ratio = log_ratio.detach().exp()
            mismatch = mismatch.detach().masked_fill(~batch.loss_mask, 0.0)
            weight = mismatch.exp()
            values = {
                "policy/ratio": ratio,
                "policy/mismatch_kl": weight - mismatch - 1,
                "ess_weight": weight,
                "ess_square": weight.square(),
            }
            if self.surrogate == "clip":
                values["policy/clip_low_fraction"] = ((ratio < 1 - self.clip_low) & (advantage < 0)).to(ratio.dtype)
                values["policy/clip_high_fraction"] = ((ratio > 1 + self.clip_high) & (advantage > 0)).to(ratio.dtype)
            return {path: token_mean(value, batch.loss_mask, batch, totals) for path, value in values.items()}


@config
class DrGrpo(Grpo):
    """Dr. GRPO (arXiv:2503.20783): no standard deviation, no 1/length: both bias the step."""

    name: Literal["dr_grpo"] = "dr_grpo"  # type: ignore[assignment]
    advantage: AdvantageName = setting("group_center", about="baseline and unit of the credit", source="arXiv:2503.20783")
    aggregation: ReductionName = setting(
        "sequence_sum", about="how token losses become the step's loss", source="arXiv:2503.20783"
    )
    constant_tokens: int | None = setting(
        3000, about="divide each attempt's loss by the longest length", unit="tokens", source="arXiv:2503.20783", ge=1
    )
    kl_coef: float = setting(
        0.0, about="weight of the KL to the reference; 0 needs no reference", source="arXiv:2503.20783", ge=0
    )


@config
class Dapo(Grpo):
    """DAPO (arXiv:2503.14476): clip-higher, token mean, dynamic sampling; rewards there are +-1 and `soft_overlong`."""

    name: Literal["dapo"] = "dapo"  # type: ignore[assignment]
    clip_high: float = setting(0.28, about="ratio is clipped at 1 + clip_high", source="arXiv:2503.14476", ge=0)
    aggregation: ReductionName = setting("token_mean", about="how token losses become the step's loss", source="arXiv:2503.14476")
    kl_coef: float = setting(
        0.0, about="weight of the KL to the reference; 0 needs no reference", source="arXiv:2503.14476", ge=0
    )
    drop_flat_groups: bool = setting(True, about="leave groups out that are all right or all wrong", source="arXiv:2503.14476")
    max_refills: int = setting(
        10, about="sample up to this many further rounds to replace groups left out", unit="rounds", source="verl", ge=0
    )


@config
class Gspo(Grpo):
    """GSPO (arXiv:2507.18071): the length-normalised sequence ratio is clipped, in a band a thousand times narrower."""

    name: Literal["gspo"] = "gspo"  # type: ignore[assignment]
    ratio: RatioName = setting("sequence_mean", about="what is compared between new and old policy", source="arXiv:2507.18071")
    clip_low: float = setting(3e-4, about="ratio is clipped at 1 - clip_low", source="arXiv:2507.18071", ge=0)
    clip_high: float = setting(4e-4, about="ratio is clipped at 1 + clip_high", source="arXiv:2507.18071", ge=0)
    kl_coef: float = setting(
        0.0, about="weight of the KL to the reference; 0 needs no reference", source="arXiv:2507.18071", ge=0
    )


@config
class Rloo(Grpo):
    """RLOO (arXiv:2402.14740): the other attempts' mean is the baseline, the sequence one action, KL in the reward."""

    name: Literal["rloo"] = "rloo"  # type: ignore[assignment]
    advantage: AdvantageName = setting("leave_one_out", about="baseline and unit of the credit", source="arXiv:2402.14740")
    ratio: RatioName = setting("sequence_sum", about="what is compared between new and old policy", source="arXiv:2402.14740")
    kl_coef: float = setting(0.05, about="weight of the KL to the reference; 0 needs no reference", source="TRL", ge=0)
    kl_estimator: Literal["k1", "k2", "k3", "k3_ratio"] = setting(
        "k1", about="how the KL is estimated", source="arXiv:2402.14740"
    )
    kl_place: Literal["loss", "reward"] = setting(
        "reward", about="added to the loss, or subtracted from the reward", source="arXiv:2402.14740"
    )


@config
class Cispo(Grpo):
    """CISPO (arXiv:2506.13585): the ratio is a capped, detached weight on the log-prob, so every token keeps its gradient."""

    name: Literal["cispo"] = "cispo"  # type: ignore[assignment]
    surrogate: SurrogateName = setting("cispo", about="what limits the step", source="arXiv:2506.13585")
    clip_low: float = setting(1.0, about="weight is at least 1 - clip_low", source="arXiv:2510.13786", ge=0)
    clip_high: float = setting(4.0, about="weight is at most 1 + clip_high", source="arXiv:2510.13786", ge=0)
    aggregation: ReductionName = setting("token_mean", about="how token losses become the step's loss", source="arXiv:2506.13585")
    kl_coef: float = setting(
        0.0, about="weight of the KL to the reference; 0 needs no reference", source="arXiv:2506.13585", ge=0
    )


def _flat(scored: Sequence[Trajectory]) -> bool:
    """Whether all attempts are right or all wrong (DAPO keeps 0 < correct < G); by the reward where nobody has judged them."""
    statuses = {trajectory.status for trajectory in scored}
    return len(statuses if None not in statuses else {trajectory.reward for trajectory in scored}) == 1


def _required(column: Tensor | None, name: str) -> Tensor:
    if column is None:
        raise ValueError(
            f"{name}: the batch has none; this algorithm trains on attempts that an engine of ours sampled and scored"
        )
    return column
