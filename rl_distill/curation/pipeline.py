"""From a recipe to published data: the stages in order, each made once and kept.

    ingest ─► normalise ─► dedup ─► decontaminate ─► generate ─► extract ─► verify ─► select ─► probes ─┬─► pair ─┬─► validate ─►
                                                        │                     │                    │    └─────────┘    publish
                                                      store          store of the judge      stores of their own

Probes are several stages, which `probes.py` draws.

A stage is a function of its settings and of the rows it gets; both make its address. A folder whose address is the same is kept,
so that a repeated command goes on where the last one stopped, and a changed key does again only what depends on it. Folders are
called like their stages; once all is published, those of stages that the recipe no longer has are removed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rl_distill.cluster.installation import check_cluster_libraries
from rl_distill.cluster.settings import RowCluster
from rl_distill.config import dump
from rl_distill.curation.drop import Drop, refuse_empty
from rl_distill.curation.extract import extract, length_of, raw_attempt
from rl_distill.curation.fingerprint import run_settings
from rl_distill.curation.folder_lock import locked
from rl_distill.curation.generate import Note, generate
from rl_distill.curation.judge import Bench
from rl_distill.curation.probe_run import ProbeRun
from rl_distill.curation.probe_stages import probe_stages
from rl_distill.curation.probes import Probing
from rl_distill.curation.publish import publish
from rl_distill.curation.recipe import Asking, CurationRecipe
from rl_distill.curation.stage_folder import Stage, StageFolder, StageResult, made, remove_others
from rl_distill.curation.store import ResponseStore
from rl_distill.curation.teacher import Response, Teacher, TeacherRequest, requests_for
from rl_distill.curation.teacher_columns import ColumnReader
from rl_distill.curation.teachers import answers_depend_on, build_teacher
from rl_distill.curation.token_entries import Unusable
from rl_distill.curation.validate import validate
from rl_distill.curation.verification import GradeAll, verifier_versions, verify
from rl_distill.errors import InputError
from rl_distill.problems.base import data_digests
from rl_distill.sealing import clear_leftovers
from rl_distill.trajectory import Group, Problem, Trajectory

VERSION = 2  # of the stages' code; raised when the same settings would come to other rows
STORE, JUDGED, STAGES = "responses", "judge", "stages"  # folders
PAIR = "pair"


class Curation:
    """A curation in its folder.

    Args:
        note: takes a line for the user.
    """

    def __init__(self, recipe: CurationRecipe, note: Note = print) -> None:
        self.recipe, self._note = recipe, note
        self.path = recipe.path

    def run(self) -> Path:
        """All stages; returns the folder with the published data.

        Raises:
            InputError: the recipe's sets, teacher or limits do not allow it, a stage leaves nothing over, or another process
                works in the folder.
            Unfinished: asking the teacher ended before all rows had an answer; repeat to go on.
            RunError: a row does not pass the gate before publishing.
        """
        with locked(self.path, "folder"):
            for folder in (self.path, self.path / STAGES):
                clear_leftovers(folder)  # of a process that was killed
            if self.recipe.probes is not None:
                self.recipe.probes.check()
            return self._run()

    def _run(self) -> Path:
        rows = StageFolder(self.path)
        finished: dict[str, StageFolder] = {}
        for stage in self.stages():
            before = "" if stage.name == "ingest" else rows.digest
            rows = finished[stage.name] = self._made(stage, rows, before)
        chosen = rows
        pairs = self._pairs(chosen)
        validate(self.recipe, chosen.groups(), pairs.groups() if pairs else [], self._evaluation())
        stages = finished | ({"pair": pairs} if pairs else {})
        published = publish(self.recipe, self.path / "data", stages, chosen.groups())
        for name in remove_others(self.path / STAGES, owned=stages):
            self._note(f"{name}: removed, the recipe has no such stage any more")
        return published

    def stages(self) -> list[Stage]:
        """Those of the recipe that make one pool out of another."""
        recipe = self.recipe
        found = [
            Stage(
                "ingest", [dump(recipe.problems), _digests(recipe.problems), recipe.generate is None], lambda _: _ingest(recipe)
            ),
            Stage("normalise", dump(recipe.cleaning), lambda groups: recipe.cleaning.apply(groups)),
        ]
        if (dedup := recipe.dedup) is not None:
            found.append(Stage("dedup", dump(dedup), lambda groups: _filtered(groups, dedup.apply)))
        if recipe.decontaminate is not None:
            sets = recipe.decontaminate.against
            found.append(Stage("decontaminate", [dump(recipe.decontaminate), _digests(sets)], self._decontaminate))
        if (asking := recipe.generate) is not None:
            found.append(Stage("generate", [_answers_depend_on(asking), recipe.seed], partial(self._generate, asking)))
        found += [
            Stage("extract", dump(recipe.reasoning), lambda groups: extract(groups, recipe.reasoning)),
            Stage("verify", [dump(recipe.verification), recipe.seed, verifier_versions()], self._verify),
            Stage("select", [dump(recipe.select), recipe.seed], self._select),
        ]
        if recipe.probes is not None:
            found += self._probes(recipe.probes)
        return found

    def pool(self) -> list[Group]:
        """The problems as the teacher is asked about them; makes the stages before that."""
        rows = StageFolder(self.path)
        with locked(self.path, "folder"):
            for stage in self.stages():
                if stage.name in ("generate", "extract"):
                    break
                rows = self._made(stage, rows, "" if stage.name == "ingest" else rows.digest)
            return rows.groups()

    def _made(self, stage: Stage, rows: StageFolder, before: str) -> StageFolder:
        address = {"stage": stage.name, "version": VERSION, "settings": stage.settings, "rows": before}

        def compute() -> StageResult:
            groups = rows.groups() if before else []
            result = stage.run(groups)
            if stage.name != PAIR:  # a pool without wrong attempts is still one to imitate
                refuse_empty(stage.name, result.groups, result.drops)
            return result

        folder, computed = made(self.path / STAGES / stage.name, address, compute)
        self._note(f"{stage.name}: {_told(folder)}{'' if computed else ' (kept)'}")
        return folder

    def _pairs(self, chosen: StageFolder) -> StageFolder | None:
        pairs = self.recipe.pairs
        if pairs is None:
            return None

        def run(groups: list[Group]) -> StageResult:
            kept, drops = pairs.apply(groups, _length(groups))
            return StageResult(groups=kept, drops=drops)

        return self._made(Stage(PAIR, dump(pairs), run), chosen, chosen.digest)

    def _decontaminate(self, groups: list[Group]) -> StageResult:
        assert self.recipe.decontaminate is not None, "the stage is there only with it"
        rules, evaluation = self.recipe.decontaminate.rules, self._evaluation()
        return _filtered(groups, lambda problems: rules.apply(problems, evaluation))

    def _evaluation(self) -> list[Problem]:
        if self.recipe.decontaminate is None:
            return []
        return [group.problem for one in self.recipe.decontaminate.against for group in one.groups()]

    def _generate(self, asking: Asking, groups: list[Group]) -> StageResult:
        seed, reader = self.recipe.seed, column_reader(asking)
        requests = requests_to(asking, [group.problem for group in groups], seed)
        teacher = build_teacher(asking.teacher, asking.limits.retry)
        with ResponseStore(self.path / STORE, store_settings(asking, teacher, seed)) as store:
            done = generate(teacher, requests, store, asking.limits, self._note)
            answers = iter(zip(requests, done.responses(), strict=True))
            rows, drops = [], []
            for group in groups:
                attempts, left_out = _attempts(group.problem, [next(answers) for _ in range(asking.num_samples)], reader)
                rows.append(Group(problem=group.problem, trajectories=attempts))
                drops += left_out
        _refuse_without_columns(rows, drops)
        facts = {
            "rows": dict(sorted((label or "good", count) for label, count in done.counts.items())),
            "repeated": done.num_repeated,
            "prompt_tokens": done.spent.prompt_tokens,
            "completion_tokens": done.spent.completion_tokens,
            "price": done.spent.price,
        }
        return StageResult(groups=rows, drops=drops, facts=facts)

    def _verify(self, groups: list[Group]) -> StageResult:
        settings, seed = self.recipe.verification, self.recipe.seed
        bench = None if settings.judge is None else Bench(settings.judge, seed, self.path / JUDGED, self._note)
        return verify(groups, settings, seed=seed, bench=bench, grade=self._grade())

    def _probes(self, probing: Probing) -> list[Stage]:
        recipe, sets = self.recipe, self.recipe.decontaminate
        run = ProbeRun(
            probing=probing,
            rules=probing.used_rules(),
            accuracy=recipe.verification.accuracy,
            reasoning=recipe.reasoning,
            seed=recipe.seed,
            folder=self.path,
            note=self._note,
            contaminated=None if sets is None else lambda problems: sets.rules.apply(problems, self._evaluation())[1],
        )
        against = None if sets is None else [dump(sets), _digests(sets.against)]
        return probe_stages(run, against, verifier_versions())

    def _grade(self) -> GradeAll | None:
        cluster = self.recipe.cluster
        if not isinstance(cluster, RowCluster):
            return None
        check_cluster_libraries()
        from rl_distill.cluster.row_workers import graded

        return partial(graded, cluster)

    def _select(self, groups: list[Group]) -> StageResult:
        length, drops = _length(groups), []
        for operation in self.recipe.select:
            groups, left_out = operation.apply(groups, self.recipe.seed, length)
            drops += left_out
        return StageResult(groups=groups, drops=drops)


def requests_to(asking: Asking, problems: Sequence[Problem], seed: int) -> list[TeacherRequest]:
    """What the teacher is asked about problems."""
    return requests_for(
        problems,
        [tuple(turn for turn in asking.prompt.messages(problem.prompt) if turn.role != "system") for problem in problems],
        num_samples=asking.num_samples,
        sampling=asking.sampling,
        seed=seed,
        system_prompt=asking.prompt.system,
        overrides=asking.sampling_overrides,
    )


def store_settings(asking: Asking, teacher: Teacher, seed: int) -> dict[str, Any]:
    """What the teacher's answers depend on beside their rows."""
    prompt = asking.prompt
    return run_settings(teacher, template=prompt.instruction, sampling=asking.sampling, seed=seed, system_prompt=prompt.system)


def column_reader(asking: Asking) -> ColumnReader | None:
    """What makes columns of the teacher's answers, if there shall be any; what it lacks is said before anybody is asked.

    Raises:
        InputError: the tokenizer is missing.
    """
    return None if asking.teacher_columns is None else ColumnReader(asking.teacher_columns)


def _answers_depend_on(asking: Asking) -> dict[str, Any]:
    """Its settings without prices, limits and addresses, which change what is paid and by whom, not what is answered."""
    settings = {key: value for key, value in dump(asking).items() if key != "limits"}
    return settings | {"teacher": answers_depend_on(asking.teacher)}


def _ingest(recipe: CurationRecipe) -> StageResult:
    """All sets behind one another; a problem's id is its own in all of them. Attempts that a teacher will replace stay out."""
    groups = [group for problems in recipe.problems for group in problems.groups()]
    seen: dict[str, str] = {}
    rows = []
    for group in groups:
        problem = group.problem
        if problem.id in seen:
            problem = replace(problem, id=f"{problem.source}/{problem.id}")
        seen[problem.id] = problem.source
        attempts = () if recipe.generate else tuple(replace(attempt, problem_id=problem.id) for attempt in group.trajectories)
        rows.append(Group(problem=problem, trajectories=attempts))
    return StageResult(groups=rows)


def _digests(problem_sets: Sequence[Any]) -> dict[str, str]:
    return {
        key: digest
        for number, problems in enumerate(problem_sets)
        for key, digest in data_digests(problems, f"problems.{number}").items()
    }


def _filtered(groups: Sequence[Group], keep: Callable[[Sequence[Problem]], tuple[list[Problem], list[Drop]]]) -> StageResult:
    kept, drops = keep([group.problem for group in groups])
    names = {problem.id for problem in kept}
    return StageResult(groups=[group for group in groups if group.problem.id in names], drops=drops)


def _attempts(
    problem: Problem, answers: Sequence[tuple[TeacherRequest, Response]], reader: ColumnReader | None
) -> tuple[tuple[Trajectory, ...], list[Drop]]:
    """The answers as attempts, and those left out that have not the columns that were asked for."""
    if reader is None:
        return tuple(raw_attempt(problem, request.conversation, response) for request, response in answers), []
    kept, drops = [], []
    for place, (request, response) in enumerate(answers):
        try:
            kept.append(reader.attempt(problem, request, response))
        except Unusable as error:
            reason, detail = error.reason, error.detail
            drops.append(
                Drop(stage="generate", problem_id=problem.id, source=problem.source, reason=reason, detail=detail, attempt=place)
            )
    return tuple(kept), drops


def _refuse_without_columns(groups: Sequence[Group], drops: Sequence[Drop]) -> None:
    """
    Raises:
        InputError: no answer has columns, for what the first one lacks.
    """
    if drops and not any(group.trajectories for group in groups):
        problem = f"none of {len(drops)} answers has columns, the first for {drops[0].reason} ({drops[0].detail})"
        remedy = "ask vLLM with sampling.extra={return_token_ids: true, return_tokens_as_token_ids: true} and name its tokenizer"
        raise InputError("generate.teacher_columns", problem, remedy)


def _length(groups: Sequence[Group]) -> Callable[[str], int]:
    """Of a response that one of the groups has."""
    known = {attempt.response: length_of(attempt)[0] for group in groups for attempt in group.trajectories}
    return lambda response: known[response]


def _told(folder: StageFolder) -> str:
    facts = folder.facts()
    problems = sum(found["problems"] for found in facts["counts"].values())
    attempts = sum(found["attempts"] for found in facts["counts"].values())
    dropped = sum(count for found in facts["dropped"].values() for reason, count in found.items() if reason.startswith("problem"))
    probes = sum(facts.get("probes", {}).values())
    parts = [f"{problems} problems", *([f"{attempts} attempts"] if attempts else []), *([f"{probes} probes"] if probes else [])]
    return ", ".join(parts) + (f"; {dropped} left out" if dropped else "")
