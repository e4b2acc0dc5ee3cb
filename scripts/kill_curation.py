"""Kill a curation at random moments, and see that it asks for no stored answer again and publishes what its answers make.

    python scripts/kill_curation.py experiments/curation/served.yaml --kills 10 --folder runs/kill-curation

The recipe's teacher has to be a vLLM server, which counts its requests at /metrics. Three runs of the same recipe:

calm      nobody disturbs it
killed    its process group gets SIGKILL again and again: at a random number of stored answers, or soon after one of the other
          stages is finished; each time the same command starts it anew, until it ends by itself
replayed  in a folder of its own, with the answers of the killed run: nobody is asked, and what is published depends on them alone

Exit code 1 if nothing was killed, if an answer that was stored is asked for again, if the server was asked more often than there
are rows and calls under way at the kills, if a process outlives a kill, or if `replayed` publishes other bytes than `killed`. A
server is only as deterministic as its arithmetic: how many answers of `killed` are those of `calm`, and which of the published
files are, is told.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from rl_distill.curation.openai_teacher import OpenAiTeacherConfig
from rl_distill.curation.pipeline import STAGES, STORE, Curation
from rl_distill.curation.recipe import CurationRecipe, load_curation

GENERATE = "generate"
IN_GENERATE = 0.6  # of the kills
LATEST = 2.0  # seconds from the moment that was drawn to the kill
SETTLED = 30.0  # seconds for children of a killed process, and for calls that nobody waits for, to be gone
PATIENCE = 1800.0  # seconds for a run to come to its next kill


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A kill comes when so many stages are finished and so many answers stored, `delay` seconds later."""

    stages: int
    rows: int
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """
    during   the stage that was not finished
    stages   finished ones
    rows     answers in the store
    seconds  since its process was started
    outlived processes of the run that were still there afterwards
    """

    during: str
    stages: int
    rows: int
    seconds: float
    outlived: int


@dataclass(frozen=True, slots=True)
class Served:
    """What a server has counted: answers that it finished, requests whose client went away, generated tokens."""

    finished: int
    aborted: int
    tokens: int

    def since(self, before: "Served") -> "Served":
        return Served(self.finished - before.finished, self.aborted - before.aborted, self.tokens - before.tokens)


class Server:
    """The counters of a vLLM server.

    Args:
        base_url: of its API, up to and with /v1.
    """

    def __init__(self, base_url: str) -> None:
        self._url = base_url.removesuffix("/v1").rstrip("/") + "/metrics"

    def served(self) -> Served:
        """Waits until nothing is under way."""
        ends = time.monotonic() + SETTLED
        while (found := self._counters())["running"]:
            if time.monotonic() > ends:
                raise TimeoutError(f"{self._url}: requests are still under way after {SETTLED:g} s")
            time.sleep(0.2)
        return Served(found["finished"], found["aborted"], found["tokens"])

    def _counters(self) -> Counter[str]:
        with urlopen(self._url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        found: Counter[str] = Counter()
        for line in lines:
            name, _, value = line.rpartition(" ")
            if name.startswith("vllm:request_success_total"):
                found["aborted" if 'finished_reason="abort"' in name else "finished"] += int(float(value))
            elif name.startswith("vllm:generation_tokens_total"):
                found["tokens"] += int(float(value))
            elif name.startswith(("vllm:num_requests_running", "vllm:num_requests_waiting{")):
                found["running"] += int(float(value))
        return found


class Run:
    """A curation in a folder, started as often as it takes."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.folder = folder
        self._command = [*command, f"folder={folder}"]
        self._log = folder.with_name(f"{folder.name}.log")

    def start(self) -> None:
        with self._log.open("a") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        self._started = time.monotonic()

    def end(self) -> float:
        """Wait for the end; the seconds that this process took.

        Raises:
            RuntimeError: it failed.
        """
        if self.process.wait(timeout=PATIENCE) != 0:
            raise RuntimeError(f"{self.folder}: {self._log.read_text()[-500:]}")
        return time.monotonic() - self._started

    def progress(self) -> tuple[int, int]:
        """Stages that are finished, and answers in the store."""
        return len(list((self.folder / STAGES).glob("[!.]*"))), len(self.lines())

    def lines(self) -> list[dict[str, Any]]:
        """Of the store, without one that is cut off."""
        whole = (path.read_bytes().split(b"\n")[:-1] for path in sorted(self.folder.glob(f"{STORE}/*/responses-*.jsonl")))
        return [json.loads(line) for shard in whole for line in shard]

    def kill(self, moment: Moment, names: list[str]) -> Kill | None:
        """Kill its process group at a moment; None if it ended before."""
        ends = time.monotonic() + PATIENCE
        while self.progress() < (moment.stages, moment.rows):
            if self.process.poll() is not None:
                return None
            if time.monotonic() > ends:
                raise TimeoutError(f"{self.folder} did not come to {moment} within {PATIENCE:g} s")
            time.sleep(0.05)
        time.sleep(moment.delay)
        if self.process.poll() is not None:
            return None
        children = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        _, alive = psutil.wait_procs(children, timeout=SETTLED)
        stages, rows = self.progress()
        seconds = time.monotonic() - self._started
        return Kill(during=[*names, "publish"][stages], stages=stages, rows=rows, seconds=seconds, outlived=len(alive))

    def answers(self) -> dict[str, tuple[str | None, str]]:
        """Reasoning and text of each row."""
        found = (line["response"] for line in self.lines())
        return {one["row_key"]: (one["reasoning"], one["text"]) for one in found}

    def published(self) -> dict[str, bytes]:
        data = self.folder / "data"
        return {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}


def drawn_moments(names: list[str], num_rows: int, kills: int, draw: random.Random) -> list[Moment]:
    """In order; those outside of `generate` are soon after the finish of any other stage, or after the start."""
    before = names.index(GENERATE)
    inside = round(kills * IN_GENERATE)
    others = [count for count in range(len(names) + 1) if count != before]
    found = [Moment(before, draw.randrange(1, max(2, num_rows * 3 // 4)), 0.0) for _ in range(inside)]  # a delay may outlast it
    return sorted(found + [Moment(draw.choice(others), 0, draw.uniform(0, LATEST)) for _ in range(kills - inside)])


def campaign(run: Run, moments: list[Moment], names: list[str]) -> Iterator[Kill]:
    """Start and kill; a moment that a run had passed when it ended is none. At the end it runs to its own end."""
    for moment in moments:
        run.start()
        kill = run.kill(moment, names)
        if kill is not None:
            print(f"killed during {kill.during}, {kill.rows} answers stored, {kill.seconds:.1f} s after its start", flush=True)
            yield kill
    run.start()
    run.end()


def report(
    calm: Run, killed: Run, replayed: Run, served: Mapping[str, Served], kills: list[Kill], concurrency: int
) -> dict[str, Any]:
    lines = killed.lines()
    first, second = calm.answers(), killed.answers()
    here, there, again = calm.published(), killed.published(), replayed.published()
    asked = served["killed"].finished + served["killed"].aborted
    return {
        "kills": [asdict(kill) for kill in kills],
        "served": {name: asdict(count) for name, count in served.items()},
        "rows": len(second),
        "stored_twice": len(lines) - len(second),
        "asked_again": asked - len(lines),
        "asked_again_at_most": concurrency * sum(kill.during == GENERATE for kill in kills),
        "stored_tokens": sum(line["response"]["completion_tokens"] for line in lines),
        "same_answers": sum(first[row] == second[row] for row in first),
        "files_like_calm": sorted(name for name in here if there.get(name) == here[name]),
        "files": sorted(here),
        "like_replayed": there == again,
    }


def problems(found: Mapping[str, Any]) -> list[str]:
    """What must not be."""
    replayed = found["served"]["replayed"]
    wrong = {
        "nothing was killed": not found["kills"],
        "answers that were stored were asked for again": found["stored_twice"] > 0,
        "more calls were repeated than were under way": found["asked_again"] > found["asked_again_at_most"],
        "a process outlived a kill": any(kill["outlived"] for kill in found["kills"]),
        "stored answers were not enough": replayed["finished"] + replayed["aborted"] > 0,
        "the same answers were published as other bytes": not found["like_replayed"],
    }
    return [name for name, is_so in wrong.items() if is_so]


def told(found: Mapping[str, Any]) -> str:
    killed, calm = found["served"]["killed"], found["served"]["calm"]
    return "\n".join(
        [
            f"{len(found['kills'])} kills; {found['rows']} rows, {found['stored_twice']} of them stored more than once",
            f"server, calm: {calm['finished']} answers, {calm['aborted']} aborted, {calm['tokens']} tokens",
            f"server, killed: {killed['finished']} answers, {killed['aborted']} aborted, {killed['tokens']} tokens "
            f"({found['stored_tokens']} of them stored)",
            f"asked again, because the kill came before the answer was stored: {found['asked_again']} "
            f"(at most {found['asked_again_at_most']} were under way)",
            f"answers like those of the calm run: {found['same_answers']} of {found['rows']}; "
            f"files: {len(found['files_like_calm'])} of {len(found['files'])}",
            f"the killed run's answers in a new folder: published bytes are {'the same' if found['like_replayed'] else 'OTHERS'}",
        ]
    )


def endpoint(recipe: CurationRecipe) -> tuple[str, int]:
    """Address and concurrency of the one server that the recipe asks."""
    teacher = recipe.generate.teacher if recipe.generate else None
    if not isinstance(teacher, OpenAiTeacherConfig) or len(teacher.endpoints) != 1:
        sys.exit("generate.teacher: give one endpoint of an `openai` teacher")
    (one,) = teacher.endpoints
    return one.base_url, one.concurrency


def main() -> int:
    given = arguments()
    recipe = load_curation(given.recipe, given.overrides)
    url, concurrency = endpoint(recipe)
    assert recipe.generate is not None
    names = [stage.name for stage in Curation(recipe).stages()] + (["pair"] if recipe.pairs else [])
    command = [sys.executable, "-m", "rl_distill", "curate", str(given.recipe), *given.overrides]
    calm, killed, replayed = (Run(command, given.folder / name) for name in ("calm", "killed", "replayed"))
    given.folder.mkdir(parents=True, exist_ok=True)
    if any(given.folder.iterdir()):
        sys.exit(f"--folder: {given.folder} is not empty; give a new one")
    server, served = Server(url), {}

    before = server.served()
    calm.start()
    print(f"calm: {calm.end():.0f} s", flush=True)
    served["calm"] = server.served().since(before)

    before = server.served()
    moments = drawn_moments(names, len(calm.lines()), given.kills, random.Random(given.seed))
    kills = list(campaign(killed, moments, names))
    served["killed"] = server.served().since(before)

    before = server.served()
    shutil.copytree(killed.folder / STORE, replayed.folder / STORE)
    replayed.start()
    replayed.end()
    served["replayed"] = server.served().since(before)

    found = report(calm, killed, replayed, served, kills, concurrency)
    (given.folder / "report.json").write_text(json.dumps(found, indent=1))
    print(told(found))
    for problem in (wrong := problems(found)):
        print(f"WRONG: {problem}", file=sys.stderr)
    return 1 if wrong else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, required=True, help="where the three runs go")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
