"""An algorithm's metrics between two lines of a log."""

import torch

from rl_distill.integrations.step_metrics import StepMetrics, summed


def test_metrics_are_summed_over_a_step_and_averaged_over_steps() -> None:
    metrics = StepMetrics(lambda sums: {**sums, "ratio": sums["a"] / sums["b"]})
    for a, b in ((1.0, 1.0), (2.0, 1.0)):
        metrics.add({"a": torch.tensor(a), "b": b})
    metrics.close_step()
    metrics.close_step()  # nothing came in between: no step
    metrics.add({"a": 0.5, "b": 1.0, "now and then": 4.0})
    assert metrics.drained() == {"a": 1.75, "b": 1.5, "ratio": 1.0, "now and then": 4.0}
    assert metrics.drained() == {}


def test_processes_that_do_not_have_a_metric_add_nothing_to_it() -> None:
    assert summed([{"a": 1.0, "b": 2.0}, {"a": 3.0}, {}]) == {"a": 4.0, "b": 2.0}
