"""What each metric means: the one place where a metric path is explained.

A part in angle brackets stands for any name: `reward/<part>` explains `reward/length`. An exact path goes before a pattern.
A path below `beside/NAME/` is the metric of the objective NAME that stands beside the stage's own.
"""

import re
from typing import NamedTuple


class Metric(NamedTuple):
    """What a metric says, and in which unit ("" for a plain number)."""

    about: str
    unit: str = ""


METRICS: dict[str, Metric] = {
    "loss": Metric("what the optimizer minimises in this step: the sum of all loss terms"),
    "loss/policy": Metric("the policy-gradient term of the loss"),
    "loss/kl": Metric("the penalty for leaving the reference policy, already multiplied by its coefficient"),
    "loss/positive": Metric("the term that imitates correct trajectories"),
    "loss/negative": Metric("the term that avoids wrong trajectories, already multiplied by its coefficient"),
    "loss/lesson": Metric("the term that imitates the teacher's replies to probes, already multiplied by its coefficient"),
    "logprob/lesson": Metric("mean log-prob of the teacher's replies to probes", "nats"),
    "coherence/gain": Metric(
        "how much better problems are solved after a dialogue than in the context it is compared with, mean"
    ),
    "coherence/paid_fraction": Metric("correct answers that were paid a bonus for their dialogue", "fraction"),
    "coherence/bonus": Metric("mean bonus of the correct answers"),
    "logprob/chosen": Metric("mean log-prob of chosen (correct) responses; it should not fall far", "nats"),
    "logprob/rejected": Metric("mean log-prob of rejected (wrong) responses", "nats"),
    "logprob/margin": Metric("chosen minus rejected log-prob", "nats"),
    "distillation/divergence": Metric("divergence of teacher and student for each token, at the loss's own temperature", "nats"),
    "distillation/candidate_mass": Metric("probability that the teacher gives to the tokens compared one by one", "fraction"),
    "distillation/reverse_kl": Metric("log sampler minus log teacher for each sampled token, which distillation lowers", "nats"),
    "distillation/teacher_tokens": Metric("tokens that the teacher read in this step, prompts included", "tokens"),
    "preference/accuracy": Metric("pairs whose chosen response scores above the rejected one", "fraction"),
    "policy/entropy": Metric("mean entropy of the next-token distribution; near 0 the policy no longer explores", "nats"),
    "policy/ratio": Metric("mean probability ratio of the policy to the one that the update started from; 1 on its first pass"),
    "policy/clip_low_fraction": Metric("tokens clipped at the lower bound", "fraction"),
    "policy/clip_high_fraction": Metric("tokens clipped at the upper bound", "fraction"),
    "policy/kl_reference": Metric("divergence of the policy from the reference for each token (k3 estimator)", "nats"),
    "policy/ess_fraction": Metric(
        "effective sample size of the engine's tokens under the policy, (mean w)^2 / mean w^2; 1 on-policy", "fraction"
    ),
    "policy/mismatch_kl": Metric("divergence of learner and engine on the sampled tokens; grows when weights are stale", "nats"),
    "credit/weighted_fraction": Metric("tokens whose log-prob the loss depends on, KL aside", "fraction"),
    "credit/positive": Metric(
        "sum over tokens (and a teacher's candidates) of -d loss / d log-prob where that is positive: how much is imitated"
    ),
    "credit/negative": Metric("the same where it is negative: how much is avoided"),
    "credit/negatives": Metric("rejected or wrong attempts in the batch of an algorithm that avoids such", "count"),
    "credit/weightless_negatives": Metric("those of them that the loss does not push down at any token", "count"),
    "gradient/norm": Metric("global L2 norm of the gradient before clipping"),
    "gradient/share/<source>": Metric("norm of one source's gradient among the sum of all sources' norms", "fraction"),
    "gradient/agreement": Metric("cosine between two sources' gradients (of more, the weighted mean over pairs)"),
    "update/norm": Metric("L2 norm of the change of the weights in this step, as it happened"),
    "update/relative": Metric("the same divided by the norm of the weights"),
    "alarm/<name>": Metric("1 while the alarm's condition holds, from the step at which it fires"),
    "learner/skipped": Metric("optimizer steps whose loss or gradient was not finite: they left the weights alone", "count"),
    "learner/learning_rate": Metric("learning rate of this step"),
    "learner/micro_batches": Metric("micro-batches that the step was split into", "count"),
    "learner/padding_fraction": Metric("padding among all token positions that the learner computed", "fraction"),
    "batch/tokens": Metric("tokens that carry loss in this step", "tokens"),
    "batch/sequences": Metric("trajectories that carry loss in this step", "count"),
    "batch/units": Metric("pairs, or trajectories that stand alone, in this step", "count"),
    "reward/mean": Metric("mean reward of the scored trajectories"),
    "reward/std": Metric("standard deviation of the reward over the scored trajectories"),
    "rollout/correct_fraction": Metric("trajectories found correct, among those the verifier could judge", "fraction"),
    "reward/<part>": Metric("mean of this part of the reward before weighting"),
    "group/count": Metric("groups that the step started from", "count"),
    "group/zero_variance_fraction": Metric("groups whose trajectories all have the same reward", "fraction"),
    "group/uninformative": Metric("groups from which the algorithm took nothing", "count"),
    "group/left_out": Metric("groups passed over so far: nothing to learn from them, or an attempt too long", "count"),
    "source/epoch": Metric("passes over the data set so far"),
    "rollout/response_tokens": Metric("mean length of a response", "tokens"),
    "rollout/truncated_fraction": Metric("responses that were cut at the length limit", "fraction"),
    "rollout/unverifiable": Metric("trajectories whose answer the verifier could not judge; they carry no credit", "count"),
    "rollout/refills": Metric("further rounds of sampling to replace uninformative groups", "count"),
    "rollout/generated_tokens": Metric("tokens that the engine sampled for this step", "tokens"),
    "rollout/correct_fraction/<context>": Metric("the same by what preceded the problem, controls included", "fraction"),
    "dialogue/turns": Metric("replies and answers that were sampled in dialogues and their branches", "count"),
    "dialogue/reply_tokens": Metric("mean length of a reply to a probe", "tokens"),
    "dialogue/truncated_replies": Metric("replies to probes that were cut at the length limit", "count"),
    "dialogue/dropped": Metric("dialogues that outgrew the student's context and were left out whole", "count"),
    "dialogue/dropped_fraction": Metric("the same among the dialogues that were begun", "fraction"),
    "run/step": Metric("steps of the run before this one, over all stages", "steps"),
    "run/generated_tokens": Metric("tokens sampled in this stage so far", "tokens"),
    "run/trained_tokens": Metric("tokens with loss in this stage so far, counted each time they are trained on", "tokens"),
    "time/source": Metric("spent on getting the step's groups, by sampling or by reading", "seconds"),
    "time/generate": Metric("spent sampling", "seconds"),
    "time/score": Metric("spent on rewards", "seconds"),
    "time/credit": Metric("spent on credit and on log-probs of reference, teacher and the policy before its update", "seconds"),
    "time/train": Metric("spent on forward, backward and the optimizer", "seconds"),
    "time/sync": Metric("spent on bringing the new weights to the engine, and on looking at them", "seconds"),
    "time/publish": Metric("spent on gathering the learner's weights", "seconds"),
    "time/load": Metric("spent on loading them into every engine worker", "seconds"),
    "sync/bytes": Metric("weights that one engine worker gets with an update", "bytes"),
    "sync/canary_error": Metric("largest difference of a token's log-prob between an engine worker and the learner", "nats"),
    "staleness/mean": Metric("updates that the weights were behind when a token was sampled, mean over tokens", "updates"),
    "staleness/max": Metric("the same, the largest", "updates"),
    "staleness/share/<lag>": Metric("tokens that were sampled so many updates behind", "fraction"),
    "staleness/mixed_fraction": Metric("attempts whose tokens were sampled with several versions of the weights", "fraction"),
    "rollout/queued_groups": Metric("groups that were sampled and waited for the learner when it asked", "groups"),
    "engine/idle_fraction": Metric(
        "of the engine workers' time in a step; a shard counts in the step that takes it, so look at means over steps", "fraction"
    ),
    "learner/idle_fraction": Metric("of the learner's time in a step, spent waiting for groups", "fraction"),
    "time/step": Metric("the whole step", "seconds"),
    "evaluation/accuracy": Metric("mean accuracy over problems and samples of the held-out problems", "fraction"),
    "evaluation/response_tokens": Metric("mean length of a response to a held-out problem", "tokens"),
    "evaluation/truncated_fraction": Metric("responses to held-out problems that were cut at the length limit", "fraction"),
    "evaluation/unverifiable": Metric("responses to held-out problems that the verifier could not judge", "count"),
    "evaluation/low": Metric("lower end of the accuracy's confidence interval", "fraction"),
    "evaluation/high": Metric("upper end of the accuracy's confidence interval", "fraction"),
}


def explain(path: str) -> Metric | None:
    """The explanation of a metric path, or None for one that nobody has explained.

    Example:
        >>> explain("time/score").unit
        'seconds'
        >>> explain("reward/length").about
        'mean of this part of the reward before weighting'
        >>> explain("reward/length/mean") is None
        True
    """
    path = re.sub("^beside/[^/]+/", "", path)
    if path in METRICS:
        return METRICS[path]
    return next((metric for pattern, metric in METRICS.items() if re.fullmatch(_as_regex(pattern), path)), None)


def _as_regex(pattern: str) -> str:
    return "".join("[^/<>]+" if part.startswith("<") else re.escape(part) for part in re.split(r"(<[^>]+>)", pattern))
