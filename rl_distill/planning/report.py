"""A plan for people, and for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from rl_distill.cluster.memory import in_words
from rl_distill.config import dump
from rl_distill.planning.forecast import Forecast
from rl_distill.planning.hardware import Hardware
from rl_distill.planning.layout import MEMORY_FRACTION, Layout
from rl_distill.planning.plan import Plan, StagePlan
from rl_distill.planning.search import Candidate, best

SCHEMA = 1  # of `as_tree`; it rises when a key changes its meaning or goes
NEIGHBOURS = 2  # layouts that are shown on each side of the best one
PHASES = ("generate", "score", "credit", "train", "sync")
LEFT_OUT = "start-up, evaluations, checkpoints, canaries, refills, traffic within an engine, overlap of links and arithmetic"


def lines(plan: Plan) -> Iterator[str]:
    """The plan as a page of text."""
    size, shape = plan.stages[0].work.shape.size, plan.stages[0].work.shape
    frozen = f", {size.trained:,} of them trained beside them" if size.frozen else ""
    yield f"{plan.recipe.name} on {_where(plan)}"
    weights = f"{size.frozen or size.trained:,} weights{frozen}"
    yield f"student   {weights}; {shape.layers} layers of {shape.hidden}, vocabulary {shape.vocabulary:,}"
    yield f"layout    {_layout_words(plan.layout)}"
    for stage in plan.stages:
        yield ""
        yield from _stage_lines(stage, plan)
    yield ""
    yield from _candidate_lines(plan)
    yield from _total_lines(plan)
    yield ""
    yield from _origin_lines(plan.hardware)


def as_tree(plan: Plan) -> dict[str, Any]:
    """The plan as JSON; `hardware` can be given back by --machine."""
    total = plan.seconds
    return {
        "schema": SCHEMA,
        "recipe": plan.recipe.name,
        "devices": plan.devices,
        "hosts": plan.hosts,
        "layout": _layout_tree(plan.layout),
        "stages": [_stage_tree(stage) for stage in plan.stages],
        "layouts": [_candidate_tree(one) for one in plan.candidates],
        "total": {
            "seconds": total,
            "device_hours": None if total is None else total / 3600 * plan.layout.devices,
            "price": None
            if total is None or plan.question.price is None
            else total / 3600 * plan.layout.devices * plan.question.price,
        },
        "hardware": dump(plan.hardware),
        "left_out": LEFT_OUT,
    }


def _stage_lines(stage: StagePlan, plan: Plan) -> Iterator[str]:
    work, found = stage.work, stage.forecast
    kind = "turns and answers" if work.turns else "attempts"
    sampled = f"samples {len(work.responses):,} {kind} of {work.sampled_tokens:,} tokens and " if work.online else ""
    rows = sum(map(len, work.units))
    yield f"stage {work.stage}: a step {sampled}trains on {rows:,} rows with {work.trained_tokens:,} tokens of loss"
    yield f"  lengths   {work.lengths}; prompts of {work.prompt} tokens"
    for model in work.scored:
        assumed = f", taken at the student's size: {model.assumed}" if model.assumed else ""
        yield f"  scored by {model.name}: {model.shape.body + model.shape.head:,} weights that multiply{assumed}"
    parts = [f"{name} {_seconds(getattr(found.phases, name))}" for name in PHASES if getattr(found.phases, name)]
    yield f"  a step    {' + '.join(parts)} = {_seconds(found.phases.step)}"
    if found.ahead and not found.layout.turns:
        gains = ", ".join(f"{bound}: {_seconds(found.ahead[bound])} (x{found.gain(bound):.2f})" for bound in found.ahead)
        yield f"  staleness {gains}; the recipe has {work.max_staleness}"
        yield f"  busy      engines {found.engine_busy:.0%}, learner {found.learner_busy:.0%} of a step"
    elif found.ahead:
        yield "  staleness gains nothing: sampling and training take turns on the same devices"
    yield from _memory_lines(found, plan.hardware)
    if work.online:
        size, way = in_words(work.shape.outgoing_bytes), _transport(found.layout)
        yield f"  sync      {size} in {work.shape.tensors} tensors to each engine, {_seconds(found.phases.sync)} by {way}"
    yield f"  stage     {_steps_words(stage)}"


def _memory_lines(found: Forecast, hardware: Hardware) -> Iterator[str]:
    room = MEMORY_FRACTION * hardware.memory_bytes.value
    rank = found.rank
    host = f", {in_words(rank.host)} in host memory" if rank.host else ""
    yield (
        f"  rank      {in_words(rank.device)}: states {in_words(rank.states)}, copy of weights {in_words(rank.moved)}, "
        f"activations {in_words(rank.activations)}, logits {in_words(rank.logits)}{host}"
    )
    if found.engine is not None:
        engine = found.engine
        devices = f" on {found.layout.tensor_parallel} devices" if found.layout.tensor_parallel > 1 else ""
        yield (
            f"  engine    {in_words(engine.device)}{devices}: weights {in_words(engine.weights)}, "
            f"keys and values {in_words(engine.cache)}, logits {in_words(engine.logits)}"
        )
    if not found.fits:
        where = "each device" if hardware.kind == "gpu" else "this machine"
        remedy = "gradient_checkpointing, a smaller micro_batch_tokens, a higher zero_stage or more ranks"
        yield f"  DOES NOT FIT: {where} has {in_words(room)} for models; take {remedy}"


def _candidate_lines(plan: Plan) -> Iterator[str]:
    widest = plan.widest
    if widest is None or plan.devices < 2:
        return
    if not plan.candidates:
        yield f"no layout of {plan.devices} devices fits: raise zero_stage, lower micro_batch_tokens, or take larger devices"
        return
    fastest = plan.best
    assert fastest is not None, "there are candidates"
    yield f"engines : ranks on {plan.devices} devices, stage {widest.work.stage}, seconds of a step"
    yield f"  {'':14}{'generate':>10}{'learn':>10}{'waiting':>10}{'1 ahead':>10}"
    for one in _shown(plan.candidates, fastest):
        mark = "  <- best with the recipe's staleness" if one is fastest else ""
        yield f"  {_ratio(one.layout):14}{one.generate:>10.3g}{one.learn:>10.3g}{one.waiting:>10.3g}{one.ahead:>10.3g}{mark}"


def _shown(found: Sequence[Candidate], fastest: Candidate) -> Sequence[Candidate]:
    """The best split, those beside it, and all devices shared."""
    split = [one for one in found if not one.layout.colocate]
    place = next((n for n, one in enumerate(split) if one is fastest), None)
    if place is None:
        place = split.index(best(list(split), ahead=True)) if split else 0
    near = split[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]
    return [*near, *(one for one in found if one.layout.colocate)]


def _total_lines(plan: Plan) -> Iterator[str]:
    total = plan.seconds
    if total is None:
        unknown = ", ".join(stage.work.stage for stage in plan.stages if stage.steps is None)
        yield f"total     not known: the number of steps of {unknown} depends on the data; give --steps"
    else:
        yield f"total     {_bill(plan, total, plan.layout)}, as the recipe stands"
    widest, fastest = plan.widest, plan.best
    if fastest is not None and widest is not None and widest.steps is not None:
        step = fastest.ahead if widest.work.max_staleness else fastest.waiting
        bill = _bill(plan, widest.steps * step, fastest.layout)
        yield f"          {bill}, stage {widest.work.stage} alone on {_ratio(fastest.layout)}"
    yield f"left out  {LEFT_OUT}"


def _bill(plan: Plan, seconds: float, layout: Layout) -> str:
    hours = seconds / 3600 * layout.devices
    price = f", {plan.question.price * hours:,.2f} at {plan.question.price:g} an hour" if plan.question.price else ""
    unit = "GPU hours" if plan.hardware.kind == "gpu" else "core hours"
    return f"{_seconds(seconds)}, {hours:,.3g} {unit}{price}"


def _origin_lines(hardware: Hardware) -> Iterator[str]:
    """Every number by how it is known."""
    numbers = hardware.numbers()
    for origin in ("measured", "datasheet", "assumed"):
        chosen = [f"{name} {number.value:.3g}" for name, number in numbers.items() if number.origin == origin]
        if chosen:
            yield from _wrapped(f"{origin:<10}", chosen)
    sources = sorted({number.source for number in numbers.values() if number.origin == "datasheet"})
    yield from (f"source    {source}" for source in sources)


def _wrapped(head: str, words: Sequence[str], width: int = 118) -> Iterator[str]:
    line = head
    for place, word in enumerate(words):
        word += ", " if place < len(words) - 1 else ""
        if len(line) + len(word) > width:
            yield line.rstrip()
            line = " " * len(head)
        line += word
    yield line


def _where(plan: Plan) -> str:
    if plan.hardware.kind == "cpu":
        return plan.hardware.name
    return f"{plan.devices} x {plan.hardware.name}, {plan.hosts} host{'s' if plan.hosts > 1 else ''}"


def _layout_words(layout: Layout) -> str:
    if layout.local:
        return "one process"
    engines = f"{layout.engines} engines" + (f" of {layout.tensor_parallel} devices" if layout.tensor_parallel > 1 else "")
    scorers = f", {layout.scorers} scorers" if layout.scorers else ""
    shared = ", on the same devices" if layout.colocate else ""
    return f"{engines} : {layout.learner.ranks} learner ranks (ZeRO {layout.learner.zero_stage}){scorers}{shared}"


def _ratio(layout: Layout) -> str:
    return f"{layout.engines} : {layout.learner.ranks}{' shared' if layout.colocate else ''}"


def _transport(layout: Layout) -> str:
    return "copy" if layout.local else layout.transport


def _steps_words(stage: StagePlan) -> str:
    if stage.seconds is None:
        return f"{_seconds(stage.forecast.step)} a step; how many, the data tell, which are not read here (--steps)"
    return f"{stage.steps} steps of {_seconds(stage.forecast.step)} = {_seconds(stage.seconds)}"


def _seconds(value: float) -> str:
    if value >= 5400:
        return f"{value / 3600:.1f} h"
    return f"{value / 60:.1f} min" if value >= 120 else f"{value:.3g} s"


def _stage_tree(stage: StagePlan) -> dict[str, Any]:
    work, found = stage.work, stage.forecast
    engine = found.engine
    return {
        "name": work.stage,
        "steps": stage.steps,
        "seconds": stage.seconds,
        "step": {**{name: getattr(found.phases, name) for name in PHASES}, "total": found.step},
        "staleness": {
            "recipe": work.max_staleness,
            "seconds": {str(bound): seconds for bound, seconds in found.ahead.items()},
            "gain": {str(bound): found.gain(bound) for bound in found.ahead},
        },
        "busy": {"engines": found.engine_busy, "learner": found.learner_busy},
        "tokens": {
            "sampled": work.sampled_tokens,
            "with_loss": work.trained_tokens,
            "prompt": work.prompt,
            "lengths": work.lengths,
        },
        "memory": {
            "fits": found.fits,
            "rank": {name: getattr(found.rank, name) for name in ("states", "moved", "activations", "logits", "host", "device")},
            "engine": engine and {name: getattr(engine, name) for name in ("weights", "cache", "logits", "device")},
        },
        "sync": {"bytes": work.shape.outgoing_bytes, "tensors": work.shape.tensors, "seconds": found.phases.sync},
    }


def _candidate_tree(one: Candidate) -> dict[str, Any]:
    return {
        **_layout_tree(one.layout),
        "generate": one.generate,
        "learn": one.learn,
        "waiting": one.waiting,
        "one_ahead": one.ahead,
    }


def _layout_tree(layout: Layout) -> dict[str, Any]:
    return {
        "engines": layout.engines,
        "ranks": layout.learner.ranks,
        "zero_stage": layout.learner.zero_stage,
        "scorers": layout.scorers,
        "tensor_parallel": layout.tensor_parallel,
        "shared": layout.turns,
        "devices": layout.devices,
        "hosts": layout.hosts,
    }
