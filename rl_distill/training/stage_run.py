"""One stage of a run from its start, or from its last checkpoint, to its sealed folder."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_distill.errors import RunError
from rl_distill.evaluation.evaluator import result_to_dict
from rl_distill.learning.checkpoint import Checkpoints, read_state
from rl_distill.learning.loss_term import MAIN
from rl_distill.recipe import BASE
from rl_distill.records import group_to_dict
from rl_distill.sealing import sealed
from rl_distill.tracking import Trackers
from rl_distill.tracking.append_log import AppendLog
from rl_distill.training.alarms import AlarmBoard
from rl_distill.training.build import Workshop
from rl_distill.training.interruption import Interrupted, Reached, StoppedByAlarm, StopRequest
from rl_distill.training.loop import Credit, Parts, Progress, Step, train
from rl_distill.training.measuring import Measurement, measured, total_cost
from rl_distill.training.run_folder import STOPPED, RunFolder
from rl_distill.trajectory import Group

RESULT = "result.json"
MAX_STALLED_STEPS = 200
TABLE_COLUMNS = ("problem", "prompt", "response", "verdict", "reward", "tokens", "finish_reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The run's growing files: cut back together when a stage goes on from a checkpoint."""

    trackers: Trackers
    ledger: AppendLog
    schedule: AppendLog
    trajectories: AppendLog

    def positions(self) -> dict[str, int]:
        return {name: log.position() for name, log in self._logs().items()}

    def truncate(self, positions: Mapping[str, int]) -> None:
        for name, log in self._logs().items():
            log.truncate(positions[name])

    def sync(self) -> None:
        for log in self._logs().values():
            log.sync()

    def append(self, lines: Mapping[str, str]) -> None:
        """Take in a part of the records of another run; whoever is told of metrics hears of them too."""
        for line in map(json.loads, lines["metrics"].splitlines()):
            stage, step = line.pop("stage"), line.pop("step")
            self.trackers.log(stage, step, {name: float(value) for name, value in line.items()})
        for name, log in (("ledger", self.ledger), ("schedule", self.schedule), ("trajectories", self.trajectories)):
            for text in lines[name].splitlines():
                log.write(json.loads(text))
        self.sync()

    def _logs(self) -> dict[str, Any]:
        logs = {"ledger": self.ledger, "schedule": self.schedule, "trajectories": self.trajectories}
        return {"metrics": self.trackers.record, **logs}


class StageRun:
    """Drives the loop of one stage and keeps its records.

    Args:
        parts: what the stage runs on, fresh.
        first_step: steps of the stages before, so that `run/step` counts over the run.
        until: `run/step` to stop after; none goes to the end.
    """

    def __init__(
        self,
        name: str,
        parts: Parts,
        folder: RunFolder,
        workshop: Workshop,
        records: Records,
        stop: StopRequest,
        *,
        first_step: int,
        until: int | None = None,
    ) -> None:
        self.name, self.parts, self.folder, self.workshop = name, parts, folder, workshop
        self.records, self.stop, self.first_step, self.until = records, stop, first_step, until
        settings = workshop.recipe.checkpoints
        self.every_steps = settings.every_steps
        self.checkpoints = Checkpoints(folder.checkpoints(name), keep_last=settings.keep_last, keep_best=settings.keep_best)
        self.board = AlarmBoard(
            workshop.recipe.alarms, [feed.term.source for feed in parts.feeds if feed.term.algorithm.avoids_wrong]
        )
        self.alarms: list[dict[str, Any]] = []  # those that have fired
        self.evaluations: Mapping[str, float] | None = {}  # what they cost so far; None where it was not kept
        self._boundary: dict[str, Any] = {}  # the state at the end of the last whole step
        self._stalled = (0.0, 0)  # the amount that its length is given in, and steps in a row that added nothing to it

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Train, evaluate and seal `stages/NAME`; returns its result. `say` takes a line for the user."""
        progress = self._resume(say)
        if self.parts.finished(progress) and (alarm := self.board.stopping()):
            raise StoppedByAlarm(f"alarm {alarm} stopped stage {self.name!r} after its last step; {_regardless(alarm)}")
        self.records.trackers.begin(self.name, self.parts.steps)
        self._boundary = self._state(progress)
        try:
            progress = train(self.parts, progress, self._after_step)
        except Exception:
            self._save_boundary()
            raise
        if progress.trained_tokens == 0:
            say(f"warning: stage {self.name} learnt nothing: no group of its {progress.step} steps had anything to learn from")
        self._save()
        with sealed(self.folder.stage(self.name)) as working:
            self.parts.learner.export(working / "student")
            measurement = self._measured(progress)
            return write_result(working, self.name, progress, measurement, self.evaluations, self.alarms)

    def _resume(self, say: Callable[[str], None]) -> Progress:
        """The state of the newest intact checkpoint, or the beginning. Records are cut back to match."""
        newest = self.checkpoints.latest(say)
        if newest is None:
            start = self.folder.start(self.name)
            if start.exists():
                self._cut_back(json.loads(start.read_text()))
            else:
                self.folder.write(f"stages/{start.name}", json.dumps(self.records.positions()))
            return Progress()
        state = read_state(newest)
        self.parts.learner.load(newest)
        for feed in self.parts.feeds:
            feed.source.load_state(state["sources"][feed.term.source])
        self.board.load_state(state["board"])
        self.alarms = state["alarms"]
        self.evaluations = state.get("evaluations")  # an earlier version of this package kept no account of them
        progress = Progress(**state["progress"])
        if not self.parts.finished(progress):
            self._cut_back(state["positions"])
        say(f"{self.name}: continues after step {progress.step} from {newest}")
        return progress

    def _cut_back(self, positions: Mapping[str, int]) -> None:
        """Drop the records of the steps that will be done again.

        What later stages recorded stands behind them, so those are done again too.
        """
        stages = [BASE, *(stage.name for stage in self.workshop.recipe.stages)]
        for later in stages[stages.index(self.name) + 1 :]:
            self.folder.forget(later)
        self.records.truncate(positions)

    def _after_step(self, progress: Progress, done: Step) -> None:
        step, metrics, score = progress.step - 1, dict(done.metrics), None
        evaluation = self.workshop.recipe.evaluation
        if evaluation and evaluation.every_steps and progress.step % evaluation.every_steps == 0:
            result = self._measured(progress).result
            assert result is not None
            metrics |= result.metrics()
            score = result.accuracy.mean
        alerts = self.board.look(metrics)
        metrics |= self.board.ringing() | {
            "run/step": float(self.first_step + step),
            "run/generated_tokens": float(progress.generated_tokens),
            "run/trained_tokens": float(progress.trained_tokens),
        }
        self._write_records(step, done.credit)
        self.records.trackers.log(self.name, step, metrics)
        for alert in alerts:
            self.alarms.append({"alarm": alert.alarm, "step": step, "text": alert.text})
            self.records.trackers.alert(self.name, step, alert.alarm, alert.text)
        self._boundary = self._state(progress)
        self._check_limit_nearer(progress)
        stopping = next((alert for alert in alerts if alert.action == "stop"), None)
        if self.first_step + step == self.until:
            self._stop_for_a_look()
        due = progress.step % self.every_steps == 0 or score is not None
        if due or stopping or self.stop.signal_name:
            self._save(score)
        if stopping:
            where = f"stage {self.name!r} after step {progress.step}"
            raise StoppedByAlarm(f"alarm {stopping.alarm} stopped {where}: {stopping.text}; {_regardless(stopping.alarm)}")
        if self.stop.signal_name and not self.parts.finished(progress):
            raise Interrupted(
                f"stopped by {self.stop.signal_name} after step {progress.step} of stage {self.name!r}; that step is saved"
            )

    def _check_limit_nearer(self, progress: Progress) -> None:
        """A stage that ends with so many trained tokens would go on for ever where there is nothing left to learn."""
        if self.parts.limit is None:
            return
        amount = self.parts.limit.amount(progress)
        self._stalled = (amount, self._stalled[1] + 1 if amount == self._stalled[0] else 0)
        if self._stalled[1] >= MAX_STALLED_STEPS and not self.parts.finished(progress):
            self._save()
            raise RunError(
                f"stage {self.name!r} came no nearer to its end in {MAX_STALLED_STEPS} steps: there was nothing to train on "
                f"up to step {progress.step}; take other problems, or give its length otherwise"
            )

    def _stop_for_a_look(self) -> None:
        self._save()
        with sealed(self.folder.path / STOPPED) as working:
            self.parts.learner.export(working / "student")
        raise Reached

    def _measured(self, progress: Progress) -> Measurement:
        """The student as it is after a step; where it samples its own attempts, the engine has these weights already."""
        found = measured(lambda: self.workshop.evaluate(None if self.parts.sync else self.parts.learner.publish(progress.step)))
        if self.evaluations is not None:
            self.evaluations = total_cost([self.evaluations, found.cost])
        return found

    def _write_records(self, step: int, credit: Mapping[str, Credit]) -> None:
        for source, share in credit.items():
            for group in share.groups:
                self.records.ledger.write({**self._place(step, source), **_ledger_entry(group)})
        for feed in self.parts.feeds:
            for line in feed.source.schedule:
                self.records.schedule.write({**self._place(step, feed.term.source), **line})
        every = self.workshop.recipe.tracking.trajectories_every
        if not every or step % every:
            return
        for feed in self.parts.feeds:
            if feed.source.live:
                share = credit[feed.term.source]
                for group, advantages in zip(share.groups, share.advantages, strict=True):
                    line = {**self._place(step, feed.term.source), **group_to_dict(group), "advantages": advantages}
                    self.records.trajectories.write(line)
                rows = [row for group in share.groups for row in _table_rows(group)]
                name = feed.term.path(f"rollouts/{self.name}")
                self.records.trackers.table(self.first_step + step, name, TABLE_COLUMNS, rows)

    def _place(self, step: int, source: str) -> dict[str, Any]:
        """What a record begins with: where in the run it belongs."""
        return {"stage": self.name, "step": step, **({"beside": source} if source != MAIN else {})}

    def _state(self, progress: Progress) -> dict[str, Any]:
        """Everything beside the learner's own files that the step boundary after `progress` consists of."""
        return {
            "progress": progress.state(),
            "sources": {feed.term.source: feed.source.state() for feed in self.parts.feeds},
            "board": self.board.state(),
            "alarms": list(self.alarms),
            "evaluations": self.evaluations,
            "positions": self.records.positions(),
            "optimizer_steps": self.parts.learner.steps_done,
        }

    def _save(self, score: float | None = None) -> None:
        step = self._boundary["progress"]["step"]
        if not self.checkpoints.has(step):
            self.records.sync()
            self.checkpoints.save(step, self._boundary, self.parts.learner.save, score=score)

    def _save_boundary(self) -> None:
        """A step failed: keep what came before it, unless it had already changed the weights. Never hides the failure itself."""
        if self.parts.learner.steps_done == self._boundary["optimizer_steps"] > 0:
            with contextlib.suppress(Exception):
                self._save()


def write_result(
    folder: Path,
    name: str,
    progress: Progress,
    measurement: Measurement,
    evaluations: Mapping[str, float] | None,
    alarms: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """`result.json` and, if the student was evaluated, `evaluation.jsonl` with every answer and its verdict.

    Args:
        evaluations: what all evaluations of the stage cost, this last one included.
    """
    evaluation, graded = measurement.result, measurement.graded
    result = {
        "stage": name,
        **progress.state(),
        "evaluation": result_to_dict(evaluation) if evaluation else None,
        "evaluations": evaluations,
        "alarms": list(alarms),
    }
    (folder / RESULT).write_text(json.dumps(result, indent=1))
    if graded:
        with (folder / "evaluation.jsonl").open("w") as file:
            for group in graded:
                for attempt in group.trajectories:
                    line = {
                        "problem": group.problem.id,
                        "prompt": group.problem.prompt,
                        "answer": group.problem.answer,
                        "response": attempt.response,
                        "verdict": attempt.status,
                        "finish_reason": attempt.finish_reason,
                        "tokens": attempt.num_sampled,
                    }
                    file.write(json.dumps(line) + "\n")
    return result


def _ledger_entry(group: Group) -> dict[str, Any]:
    return {
        "problem": group.problem.id,
        "attempts": [
            {
                **{"model": t.model, "seed": t.seed, "status": t.status, "reward": t.reward, "tokens": len(t.token_ids)},
                **({} if t.dialogue is None else {"context": t.context, "dialogue": t.dialogue, "control": t.control}),
            }
            for t in group.trajectories
        ],
    }


def _table_rows(group: Group) -> list[tuple[Any, ...]]:
    return [
        (t.problem_id, group.problem.prompt, t.response, t.status, t.reward, t.num_sampled, t.finish_reason)
        for t in group.trajectories
    ]


def _regardless(alarm: str) -> str:
    return f"to go on regardless, add alarms.{alarm.partition(':')[0]}.action=warn"
