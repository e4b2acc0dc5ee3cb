"""How far one driver carries: its real code with a thousand engine workers that return records, and no model anywhere.

    python scripts/bench/driver_load.py [--groups 1000000] [--workers 1000] [--sweep] [--json FILE]

What runs is what a cluster run's driver runs: `training.rounds.Rounds` one step ahead, `cluster.pool.Pool` handing shards to
workers, rewards, the algorithm's credit, `learning.step_plan`, the pickles that would go to the learner's ranks, the ledger and
the schedule through `tracking.append_log`. What stands in: workers (their shards come back in random order on a clock of their
own, unpickled as Ray would), and Ray itself; what `ray.wait` costs on so many references is measured with a real Ray by --ray.

Prints groups a second of the core, its seconds by part, peak memory. --sweep also runs smaller sizes, each in a process of its
own, and fits the exponents with which seconds and memory grow with the number of groups, of workers, and of groups in a step.
"""

import argparse
import heapq
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from powers import exponent
from turns import at_least_one, json_file

from rl_distill.algorithms import ALGORITHMS
from rl_distill.cluster import pool as pool_module
from rl_distill.cluster.pool import Pool
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.step_plan import plan_step
from rl_distill.rewards.accuracy import Accuracy
from rl_distill.rewards.weighted import WeightedRewards, score_groups
from rl_distill.rollout.collector import Prompt
from rl_distill.rollout.engine import Request, Sampling, ShardResult
from rl_distill.tracking.append_log import AppendLog
from rl_distill.training.cursor import Cursor
from rl_distill.training.rollout_metrics import rollout_metrics, staleness_metrics
from rl_distill.training.rounds import Rounds
from rl_distill.training.stage_run import _ledger_entry
from rl_distill.trajectory import Group, Message, Problem, Trajectory

PROMPT_TOKENS, SHARD_SIZE, RANKS, NUM_PROBLEMS = 16, 64, 8, 20_000
SHARD_SECONDS, LEARNER_SECONDS = 1.0, 0.5  # on the workers' clock


class Clock:
    """Seconds of the core by part of the driver's work; the innermost part counts. Others may share the machine."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = time.process_time()

    def _turn(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()


class Reference:
    """What Ray would give for a call."""

    __slots__ = ("done", "shard", "worker")

    def __init__(self, shard: Sequence[Request], worker: int, done: float) -> None:
        self.shard, self.worker, self.done = shard, worker, done


class StandIn:
    """Workers, their clock, and the two things that a `Pool` asks of its crew and of Ray."""

    settings = SimpleNamespace(retries=0)

    def __init__(self, clock: Clock, tokens: int, max_staleness: int) -> None:
        self.clock, self.now = clock, 0.0
        self._random, self._free = Random(0), defaultdict(float)
        self._due: list[tuple[float, int, Reference]] = []
        self._count = 0
        length = PROMPT_TOKENS + tokens
        columns = (
            tuple(range(1000, 1000 + length)),
            (False,) * PROMPT_TOKENS + (True,) * tokens,
            tuple(n / 7 for n in range(length)),
        )
        self._columns = pickle.dumps((*columns, (0,) * length))
        self.version = 0

    def start(self, number: int) -> Any:
        sample = SimpleNamespace(remote=lambda shard: self._given(shard, number))
        return SimpleNamespace(number=number, actor=SimpleNamespace(sample=sample))

    def meet(self, workers: Sequence[Any]) -> None: ...

    def first(self, what: str, asked: Mapping[Reference, Any], seconds: float | None = None) -> list[Reference]:
        """Wait until something is done, however long it takes."""
        with self.clock.part("stand-in"):
            self.now = max(self.now, self._due[0][0])
            return self._done()

    def wait(self, refs: Sequence[Reference], *, num_returns: int, timeout: float) -> tuple[list[Reference], list[Reference]]:
        """`ray.wait` with timeout 0."""
        with self.clock.part("stand-in"):
            return self._done(), []

    def answer(self, what: str, ref: Reference, worker: Any) -> ShardResult:
        with self.clock.part("arrival"):
            return ShardResult(
                trajectories=[self._attempt(asked) for asked in ref.shard],
                worker=ref.worker,
                swaps=((0, self.version),),
                seconds=SHARD_SECONDS,
            )

    def _given(self, shard: Sequence[Request], worker: int) -> Reference:
        with self.clock.part("stand-in"):
            self._free[worker] = max(self._free[worker], self.now) + self._random.expovariate(1 / SHARD_SECONDS)
            ref = Reference(shard, worker, self._free[worker])
            self._count += 1
            heapq.heappush(self._due, (ref.done, self._count, ref))
            return ref

    def _done(self) -> list[Reference]:
        found = []
        while self._due and self._due[0][0] <= self.now:
            found.append(heapq.heappop(self._due)[2])
        return found

    def _attempt(self, asked: Request) -> Trajectory:
        token_ids, sampled, logprobs, versions = pickle.loads(self._columns)
        return Trajectory(
            problem_id=asked.problem_id,
            messages=(*asked.messages, Message("assistant", f"so it is \\boxed{{{6 + asked.seed % 2}}}")),
            token_ids=token_ids,
            sampled=sampled,
            behavior_logprobs=logprobs,
            policy_versions=versions,
            model="load",
            origin="policy",
            seed=asked.seed,
        )


class Sampler:
    """A `Pool` as `Rounds` knows it, like `cluster.engine_fleet.EngineFleet`."""

    shard_size = SHARD_SIZE

    def __init__(self, stand_in: StandIn, clock: Clock, workers: int) -> None:
        pool_module.ray = SimpleNamespace(wait=stand_in.wait)  # type: ignore[assignment]
        self.pool = Pool(stand_in, "engine", workers, start=stand_in.start, prepare=tuple)  # type: ignore[arg-type]
        self.clock, self.num_workers = clock, workers

    def submit(self, shard: Sequence[Request], *, ahead: bool = False) -> int:
        with self.clock.part("dispatch"):
            return self.pool.submit(lambda actor: actor.sample.remote(shard), ahead=ahead)

    def collect(self, ticket: int) -> ShardResult:
        with self.clock.part("gather"):
            result: ShardResult = self.pool.collect("sampling", ticket)
            return result

    def finished(self, ticket: int) -> bool:
        with self.clock.part("ready"):
            return self.pool.finished(ticket)

    def abandon(self) -> None: ...


def simulate(groups: int, workers: int, step_groups: int, group_size: int, tokens: int) -> dict[str, Any]:
    """A run of so many groups, step by step; seconds by part, rate, peak memory."""
    clock = Clock()
    stand_in = StandIn(clock, tokens, 1)
    step_groups = min(step_groups, groups)
    steps = round(groups / step_groups)
    with clock.part("start"):
        sampler = Sampler(stand_in, clock, workers)
        rounds = Rounds(
            [_prompt(number) for number in range(NUM_PROBLEMS)],
            sampler,
            Sampling(max_tokens=tokens),
            address=(0, "load"),
            cursor=Cursor(NUM_PROBLEMS, 0, shuffle=True),
            size=step_groups,
            group_size=group_size,
            max_staleness=1,
            steps=steps,
        )
    rewards = WeightedRewards((Accuracy(),))
    algorithm = ALGORITHMS["grpo"](kl_coef=0, correction="token_tis")  # type: ignore[call-arg]
    empty = peak_bytes()
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        logs = {name: AppendLog(Path(folder) / f"{name}.jsonl") for name in ("ledger", "schedule")}
        with clock.part("submit"):
            rounds.submit_ahead(0)
        arrived = attempts = 0
        for step in range(steps):
            groups_of_step = _step(step, rounds, rewards, algorithm, clock, logs)
            arrived += len(groups_of_step)
            attempts += sum(len(group.trajectories) for group in groups_of_step)
            stand_in.version, stand_in.now = step + 1, stand_in.now + LEARNER_SECONDS
            with clock.part("submit"):
                rounds.submit_ahead(step + 1)
        written = {name: log.position() for name, log in logs.items()}
    whole = time.process_time() - started
    parts = dict(sorted(clock.seconds.items(), key=lambda item: -item[1]))
    own = whole - parts.get("stand-in", 0.0)
    return {
        "groups": arrived,
        "attempts": attempts,
        "workers": workers,
        "step_groups": step_groups,
        "group_size": group_size,
        "tokens": tokens,
        "seconds": own,
        "groups_per_second": arrived / own,
        "peak_bytes": peak_bytes(),
        "empty_bytes": empty,
        "written": written,
        "parts": parts,
    }


def _step(
    step: int, rounds: Rounds, rewards: WeightedRewards, algorithm: Any, clock: Clock, logs: Mapping[str, AppendLog]
) -> list[Group]:
    """What a driver does for one step, in the order of `training.loop` and `training.stage_run`: the groups of it."""
    with clock.part("ready"):
        rounds.ready()
    rounds.schedule = []
    with clock.part("groups"):
        groups = rounds.take(step)
    with clock.part("score"):
        groups = score_groups(groups, rewards)
    with clock.part("metrics"):
        rollout_metrics(groups)
        staleness_metrics(groups, step, 1)
    with clock.part("credit"):
        samples = algorithm.finish([sample for group in groups for sample in algorithm.samples(group)])
    with clock.part("plan"):
        shares = plan_step(samples, [LossTerm(algorithm=algorithm)], num_processes=RANKS, max_tokens=16_384)
    with clock.part("ship"):
        for share in shares:
            pickle.dumps(share, protocol=5)
    with clock.part("ledger"):
        for group in groups:
            logs["ledger"].write({"stage": "load", "step": step, **_ledger_entry(group)})
    with clock.part("schedule"):
        for line in rounds.schedule:
            logs["schedule"].write({"stage": "load", **line})
    return groups


def _prompt(number: int) -> Prompt:
    problem = Problem(id=f"problem-{number}", prompt="3 + 4 = ?", answer="7", source="load")
    messages = (Message("user", problem.prompt),)
    return Prompt(problem=problem, messages=messages, token_ids=tuple(range(PROMPT_TOKENS)))


def peak_bytes() -> int:
    """Of this process alone: what `getrusage` tells begins with the memory of whoever started it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def alone(**sizes: int) -> dict[str, Any]:
    """A simulation in a process of its own, so that its peak memory is its own."""
    command = [
        sys.executable,
        __file__,
        *[text for name, size in sizes.items() for text in (f"--{name.replace('_', '-')}", str(size))],
    ]
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run([*command, "--json", file.name], check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(Path(file.name).read_text())["run"]
    return found


def sweep(given: argparse.Namespace) -> dict[str, Any]:
    """Exponents of seconds, of each part's seconds and of memory in each size, the others held."""
    base = {"groups": 32_768, "workers": 1000, "step_groups": 8192, "group_size": given.group_size, "tokens": given.tokens}
    sizes = {"groups": (16_384, 32_768, 65_536), "workers": (10, 100, 1000, 4000), "step_groups": (2048, 8192, 32_768)}
    found: dict[str, Any] = {}
    for name, values in sizes.items():
        runs = [alone(**(base | {name: value})) for value in values]
        per_group = [
            (value, run["seconds"] / (run["groups"] if name != "groups" else 1)) for value, run in zip(values, runs, strict=True)
        ]
        parts = {part for run in runs for part in run["parts"]} - {"stand-in", "start"}
        found[name] = {
            "sizes": values,
            "seconds": [run["seconds"] for run in runs],
            "peak_bytes": [run["peak_bytes"] for run in runs],
            "exponent": exponent(per_group),
            "memory_exponent": exponent(
                [(value, run["peak_bytes"] - run["empty_bytes"] + 1) for value, run in zip(values, runs, strict=True)]
            ),
            "parts": {
                part: exponent([(value, run["parts"].get(part, 0.0)) for value, run in zip(values, runs, strict=True)])
                for part in parts
                if all(run["parts"].get(part, 0.0) > 0.05 for run in runs)
            },
        }
        grown = ", ".join(f"{part} {slope:.2f}" for part, slope in found[name]["parts"].items())
        what = "seconds" if name == "groups" else "seconds for a group"
        slopes = f"exponent {found[name]['exponent']:.2f}, memory {found[name]['memory_exponent']:.2f}"
        print(f"{name:12} {what} grow with {slopes} ({grown})", flush=True)
    return found


def ray_wait_seconds(counts: Sequence[int] = (10, 100, 1000, 2000, 4000)) -> dict[int, float]:
    """What one `ray.wait` for any of so many calls costs when one of them is done already, and one with timeout 0."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False, object_store_memory=100 * 2**20)
    try:

        @ray.remote
        class Sleeper:
            def sleep(self, seconds: float) -> None:
                time.sleep(seconds)

        actor, found = Sleeper.remote(), {}
        ray.get(actor.sleep.remote(0.0))
        for count in counts:
            done = ray.put(1)
            refs = [actor.sleep.remote(600.0) for _ in range(count - 1)] + [done]
            time.sleep(0.5)
            found[count] = min(_timed(partial(_waited, ray, refs)) for _ in range(5))
        return found
    finally:
        ray.shutdown()


def _waited(ray: Any, refs: list[Any]) -> None:
    """The two waits of `cluster.crew.Crew.first`."""
    ray.wait(refs, num_returns=1, timeout=5)
    ray.wait(refs, num_returns=len(refs), timeout=0)


def _timed(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=at_least_one, default=1_000_000)
    parser.add_argument("--workers", type=at_least_one, default=1000)
    parser.add_argument("--step-groups", type=at_least_one, default=8192, help="groups of one step")
    parser.add_argument("--group-size", type=at_least_one, default=8)
    parser.add_argument("--tokens", type=at_least_one, default=32, help="of a response")
    parser.add_argument("--sweep", action="store_true", help="fit how seconds and memory grow")
    parser.add_argument("--ray", action="store_true", help="measure what ray.wait costs")
    parser.add_argument("--json", type=json_file)
    given = parser.parse_args()
    run = simulate(given.groups, given.workers, given.step_groups, given.group_size, given.tokens)
    report: dict[str, Any] = {"run": run}
    attempts = run["attempts"]
    print(f"{run['groups']:,} groups of {given.group_size} attempts of {given.tokens} tokens, {given.step_groups} groups a step")
    rates = f"{run['groups_per_second']:.0f} groups/s, {attempts / run['seconds']:.0f} attempts/s"
    print(f"{given.workers} workers: {run['seconds']:.0f} s, {rates}")
    print(f"peak memory {run['peak_bytes'] / 2**30:.2f} GiB, of it {run['empty_bytes'] / 2**30:.2f} before the first step")
    for part, seconds in run["parts"].items():
        own = "" if part != "stand-in" else "   (not a driver's)"
        print(f"  {part:10} {seconds:8.1f} s {1e6 * seconds / attempts:8.1f} us an attempt{own}")
    if given.ray:
        report["ray_wait"] = ray_wait_seconds()
        print(
            "two ray.wait on n references: "
            + ", ".join(f"{count}: {1e3 * seconds:.1f} ms" for count, seconds in report["ray_wait"].items())
        )
    if given.sweep:
        report["sweep"] = sweep(given)
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
