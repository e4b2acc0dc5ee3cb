"""From a recipe and what the user says of machine and lengths to the whole plan."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import InputError
from rl_distill.planning import lengths
from rl_distill.planning.forecast import Forecast, forecast
from rl_distill.planning.hardware import Hardware, gpu, read_machine
from rl_distill.planning.layout import Layout, layout_of
from rl_distill.planning.lengths import Lengths
from rl_distill.planning.search import Candidate, best, candidates
from rl_distill.planning.workload import Workload, student_shape, workload
from rl_distill.recipe import Recipe
from rl_distill.training.stages import Stage
from rl_distill.training.student import prompter

THIS = "this"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the user says beside the recipe.

    gpus           devices that there are; None is as many as the recipe asks for
    gpu            a name of the table, "this" for this machine, which is measured, or None: this machine
    machine        a file that describes a device, instead
    mean_tokens, max_tokens, prompt_tokens  of responses and prompts, instead of what is assumed
    lengths_from   folder of a past run, instead
    price          of a device for an hour
    """

    gpus: int | None = None
    gpu: str | None = None
    hosts: int | None = None
    machine: Path | None = None
    lengths_from: Path | None = None
    mean_tokens: float | None = None
    max_tokens: int | None = None
    prompt_tokens: int | None = None
    steps: int | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        for name in ("gpus", "hosts", "mean_tokens", "max_tokens", "prompt_tokens", "steps"):
            if (value := getattr(self, name)) is not None and not 1 <= value < math.inf:
                raise InputError(f"--{name.replace('_', '-')}", f"is {value:g}", "give a number of 1 or more")
        if self.price is not None and not 0 <= self.price < math.inf:
            raise InputError("--price", f"is {self.price:g}", "give the price of a GPU for an hour")
        if self.gpu and self.machine:
            raise InputError("--gpu", "is given beside --machine", "give one of them")
        if self.lengths_from and (self.mean_tokens or self.max_tokens):
            raise InputError("--lengths-from", "is given beside --mean-tokens or --max-tokens", "measure lengths or say them")


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A stage with what it takes; `seconds` of all its steps, None where their number is not known."""

    work: Workload
    forecast: Forecast
    steps: int | None

    @property
    def seconds(self) -> float | None:
        return None if self.steps is None else self.steps * self.forecast.step


@dataclass(frozen=True)
class Plan:
    """
    stages      those of the recipe, on its own layout
    candidates  layouts of all devices for the stage that samples and takes longest; [] where nothing is sampled, or on one device
    """

    recipe: Recipe
    question: Question
    hardware: Hardware
    layout: Layout
    devices: int
    hosts: int
    stages: Sequence[StagePlan]
    candidates: Sequence[Candidate]

    @property
    def seconds(self) -> float | None:
        """Of all stages on the recipe's own layout, evaluations and start-up left out."""
        found = [stage.seconds for stage in self.stages]
        return None if None in found else sum(seconds for seconds in found if seconds is not None)

    @property
    def best(self) -> Candidate | None:
        """The fastest layout of all devices with the recipe's bound on staleness, 0 or more."""
        widest = self.widest
        return best(list(self.candidates), ahead=widest.work.max_staleness > 0) if widest and self.candidates else None

    @property
    def widest(self) -> StagePlan | None:
        """The stage that samples and whose step takes longest."""
        return max((stage for stage in self.stages if stage.work.online), key=lambda stage: stage.forecast.step, default=None)


def plan(recipe: Recipe, question: Question) -> Plan:
    """
    Raises:
        InputError: recipe, machine and numbers do not go together.
    """
    hardware = _hardware(recipe, question)
    layout = layout_of(recipe, hosts=question.hosts, devices_per_host=round(hardware.devices_per_host.value))
    devices = _devices(question, layout, hardware)
    made = prompter(recipe.student)
    shape = student_shape(recipe, made.tokenizer)

    if question.prompt_tokens is not None and question.prompt_tokens >= made.max_context:
        problem = f"is {question.prompt_tokens}, and the student's context has {made.max_context} tokens"
        raise InputError("--prompt-tokens", problem, "lower it, or give the student a longer context")
    limits: list[int] = []

    def lengths_of(stage: Stage, live: bool, longest: int) -> Lengths:
        if question.lengths_from is not None:
            return lengths.of_run(question.lengths_from, stage.name, live=live)
        limits.append(longest)
        return lengths.assumed(min(longest, question.max_tokens or longest), question.mean_tokens)

    stages = []
    for stage in recipe.stages:
        work = workload(recipe, stage, shape, lengths_of, prompt=question.prompt_tokens, context=made.max_context)
        expected = forecast(work, layout, hardware)
        timed = None if stage.max_seconds is None else math.ceil(stage.max_seconds / expected.step)
        stages.append(StagePlan(work=work, forecast=expected, steps=question.steps or work.steps or timed))
    if question.max_tokens is not None and question.max_tokens > max(limits):
        problem = f"is {question.max_tokens}, and no response of the recipe may be longer than {max(limits)}"
        raise InputError("--max-tokens", problem, "lower it, or raise the recipe's own limit (max_tokens)")
    hosts = question.hosts or -(-devices // round(hardware.devices_per_host.value))
    found = Plan(recipe, question, hardware, layout, devices, hosts, stages, ())
    if found.widest is None or devices < 2:
        return found
    return replace(found, candidates=candidates(found.widest.work, layout, hardware, devices, hosts))


def _hardware(recipe: Recipe, question: Question) -> Hardware:
    if question.machine is not None:
        return read_machine(question.machine)
    if question.gpu is not None and question.gpu.lower() != THIS:
        return gpu(question.gpu)
    if question.gpus is not None and question.gpu is None:
        raise InputError("--gpus", "is given without what they are", "add --gpu NAME or --machine FILE")
    from rl_distill.planning.calibration import measured

    cluster = recipe.cluster
    return measured(threads=cluster.learner.threads if isinstance(cluster, RayCluster) else None)


def _devices(question: Question, layout: Layout, hardware: Hardware) -> int:
    count = layout.devices if question.gpus is None else question.gpus
    if question.gpus is not None and layout.devices > question.gpus:
        asked = f"{layout.engines} engines of {layout.tensor_parallel}, {layout.learner.ranks} ranks, {layout.scorers} scorers"
        problem = f"is {question.gpus}, and the recipe asks for {layout.devices} ({asked})"
        raise InputError("--gpus", problem, "lower cluster.engine.workers or cluster.learner.ranks, or plan for more")
    if question.hosts is not None and question.hosts > count:
        raise InputError("--hosts", f"is {question.hosts}, and there are {count} devices", "give at most as many hosts")
    return count
