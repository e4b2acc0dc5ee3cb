"""What each stage and each route of a run cost, from the run's folder alone. What is not known stays unknown and is never 0."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_distill.analysis.cost_amounts import Cost, Question, RouteCost, RunCosts, StageCost, total
from rl_distill.analysis.run_records import PHASES, RunRecord, StageRecord, read_run
from rl_distill.analysis.stage_flops import Flops, flops_of
from rl_distill.analysis.teacher_bills import Bill, bills_of, merged
from rl_distill.cluster.settings import RayCluster
from rl_distill.config import dump
from rl_distill.errors import InputError
from rl_distill.recipe import BASE, Recipe
from rl_distill.training.student import SeededModel

HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What no run folder knows.

    teacher_weights  that each of a curated teacher's tokens passes; its FLOPs are 2 for each
    price            of a device for an hour, in the currency of the teacher's bill
    """

    teacher_weights: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        for name in ("teacher_weights", "price"):
            if (value := getattr(self, name)) is not None and not 0 <= value < float("inf"):
                raise InputError(f"--{name.replace('_', '-')}", f"is {value:g}", "give a number of 0 or more")


def run_costs(path: Path, assumed: Assumed = Assumed(), *, begun: bool = False) -> RunCosts:
    """
    Args:
        begun: stages that were cut short cost what they took up to their newest checkpoint.

    Raises:
        InputError: it is no run's folder, or no stage of it is finished.
    """
    run = read_run(path, begun=begun)
    devices, base_made = devices_of(run.recipe), isinstance(run.recipe.student.model, SeededModel)
    stages = {name: _stage_cost(run, stage, devices, assumed) for name, stage in run.stages.items()}
    routes = tuple(_route(run, name, stages, assumed) for name in stages)
    return RunCosts(
        path=path,
        name=run.recipe.name,
        seed=run.recipe.seed,
        devices=devices,
        stages=stages,
        routes=routes,
        bill=_together([stage for name, stage in stages.items() if base_made or name != BASE], assumed),
        base_made=base_made,
        base=json.dumps(dump(run.recipe.student)["model"], sort_keys=True),
        problems=_problems(run),
        unfinished=run.unfinished,
    )


def devices_of(recipe: Recipe) -> int:
    """That a run holds from its beginning to its end; one process is one device."""
    cluster = recipe.cluster
    if not isinstance(cluster, RayCluster):
        return 1
    ranks, workers = cluster.learner.ranks, cluster.engine.workers if "engine" in recipe.roles else 0
    scorers = cluster.scorer.workers if "scorer" in recipe.roles else 0
    return (max(ranks, workers) if cluster.colocate else ranks + workers) + scorers


def _stage_cost(run: RunRecord, stage: StageRecord, devices: int, assumed: Assumed) -> StageCost:
    result, work = stage.result, stage.result["work"]
    flops, why = flops_of(run, stage)
    if stage.name == BASE and not isinstance(run.recipe.student.model, SeededModel):
        return _made_elsewhere(stage, flops)
    bills = bills_of(run, stage)
    counted = work.get("steps", 0) == result["step"]
    seconds = result["seconds"]
    phases = stage.phases if stage.phases is not None else dict.fromkeys(("sampling", "scoring", "training"))
    device_seconds = devices * seconds
    cost = Cost(
        sampled_tokens=result["generated_tokens"],
        prompts=work.get("sampling/prompts", 0) if counted else None,
        prompt_tokens=work.get("sampling/prompt_tokens", 0) if counted else None,
        trained_tokens=result["trained_tokens"],
        teacher_tokens=_tokens(bills),
        teacher_read_tokens=work.get("teacher/tokens", 0) if counted else None,
        flops={"sampling": flops.sampling, "scoring": flops.scoring, "training": flops.training, "teacher": flops.teacher},
        billed_flops=_billed_flops(bills, assumed),
        seconds={**phases, "idle": _idle(run.recipe, stage), "wall": seconds},
        device_seconds=device_seconds,
        money=_money(bills, device_seconds, assumed),
        evaluation=_evaluation(stage, flops),
    )
    notes = [f"FLOPs: {why}"] if why else []
    if bills is None:
        notes.append("teacher: the run does not tell what its text cost")
    if stage.phases is None:
        notes.append("seconds by phase: the run that made it kept them")
    return StageCost(name=stage.name, cost=cost, bills=bills, notes=tuple(notes))


def _made_elsewhere(stage: StageRecord, flops: Flops) -> StageCost:
    """Base as the run found it: what others spent on it is not known."""
    cost = Cost(
        sampled_tokens=None,
        prompts=None,
        prompt_tokens=None,
        trained_tokens=None,
        teacher_tokens=None,
        teacher_read_tokens=None,
        flops=dict.fromkeys(("sampling", "scoring", "training", "teacher")),
        billed_flops=None,
        seconds=dict.fromkeys((*PHASES, "reading", "idle", "wall")),
        device_seconds=None,
        money=None,
        evaluation=_evaluation(stage, flops),
    )
    return StageCost(name=stage.name, cost=cost, bills=None, notes=("making it: the run took a student that others had trained",))


def _problems(run: RunRecord) -> dict[str, Question | None]:
    """What the run's students were measured on; all on the same."""
    for name in run.stages:
        path = run.path / "stages" / name / "evaluation.jsonl"
        if path.is_file():
            try:
                rows = [json.loads(line) for line in path.read_bytes().splitlines()]
                return {row["problem"]: Question(row["prompt"], row["answer"]) for row in rows}
            except (ValueError, TypeError, KeyError):
                remedy = "remove that stage's folder and continue the run"
                raise InputError(str(path), "is no record of a stage's answers", remedy) from None
    measured = (stage.result.get("evaluation") or {} for stage in run.stages.values())
    return {problem: None for one in measured for problem in one.get("problem_accuracy", ())}


def _route(run: RunRecord, name: str, stages: Mapping[str, StageCost], assumed: Assumed) -> RouteCost:
    way = run.recipe.lineage(name) or (BASE,)
    evaluation: Mapping[str, Any] = run.stages[name].result.get("evaluation") or {}
    return RouteCost(
        name=name,
        stages=way,
        cost=_together([stages[one] for one in way], assumed),
        accuracy=evaluation.get("accuracy"),
        low=evaluation.get("low"),
        high=evaluation.get("high"),
    )


def _together(stages: Iterable[StageCost], assumed: Assumed) -> Cost:
    """Amounts add up; a data set that several stages read was made once."""
    several = list(stages)
    costs = [stage.cost for stage in several]
    known = [stage.bills for stage in several if stage.bills is not None]
    bills = merged([bill for one in known for bill in one]) if len(known) == len(several) else None
    device_seconds = total(cost.device_seconds for cost in costs)
    return Cost(
        **{name: total(getattr(cost, name) for cost in costs) for name in _ADDED},
        teacher_tokens=_tokens(bills),
        flops=_sums([cost.flops for cost in costs]),
        billed_flops=_billed_flops(bills, assumed),
        seconds=_sums([cost.seconds for cost in costs]),
        device_seconds=device_seconds,
        money=_money(bills, device_seconds, assumed),
        evaluation=_sums([cost.evaluation for cost in costs]),
    )


_ADDED = ("sampled_tokens", "prompts", "prompt_tokens", "trained_tokens", "teacher_read_tokens")


def _sums(parts: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    return {name: total(part.get(name) for part in parts) for name in dict.fromkeys(name for part in parts for name in part)}


def _tokens(bills: Sequence[Bill] | None) -> float | None:
    return None if bills is None else sum(bill.tokens for bill in bills)


def _billed_flops(bills: Sequence[Bill] | None, assumed: Assumed) -> float | None:
    tokens = _tokens(bills)
    if tokens == 0:
        return 0.0
    return None if tokens is None or assumed.teacher_weights is None else 2 * assumed.teacher_weights * tokens


def _money(bills: Sequence[Bill] | None, device_seconds: float | None, assumed: Assumed) -> float | None:
    teacher = None if bills is None else total(bill.price for bill in bills)
    devices = 0.0 if assumed.price is None else total([device_seconds])
    return total([teacher, None if devices is None else devices * (assumed.price or 0.0) / HOUR])


def _evaluation(stage: StageRecord, flops: Flops) -> dict[str, float | None]:
    spent = stage.result["evaluations"]
    if spent is None:
        return {"tokens": None, "flops": None, "seconds": None}
    return {"tokens": spent.get("sampling/tokens", 0), "flops": flops.evaluation, "seconds": spent.get("seconds", 0.0)}


def _idle(recipe: Recipe, stage: StageRecord) -> float | None:
    """Device seconds without work; none in one process, whose phases follow each other."""
    if not isinstance(recipe.cluster, RayCluster):
        return 0.0
    if stage.idle is None:
        return None
    places = {"engine": recipe.cluster.engine.workers, "learner": recipe.cluster.learner.ranks}
    return sum(places[who] * seconds for who, seconds in stage.idle.items())
