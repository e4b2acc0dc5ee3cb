"""The console: what it shows on a terminal and elsewhere, and that it never stops a run."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rl_distill.tracking.console_tracker import PLAIN_SECONDS, ConsoleTracker

STAGES = {"sft": 2, "redi": 100}


class Clock:
    """Time that a test moves by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_plain_line_tells_stage_step_metrics_and_the_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    tracker = ConsoleTracker(STAGES, stream=stream, clock=clock)
    tracker.log("redi", 0, {"loss": 0.51239, "logprob/margin": 1.5, "preference/accuracy": 0.75, "gradient/norm": 9.0})
    clock.seconds = 20.0
    tracker.log("redi", 2, {"loss": 0.5})
    assert stream.getvalue().splitlines() == [
        "[2/2] redi  step 1/100  loss 0.5124  margin 1.5  preference 0.75",
        "[2/2] redi  step 3/100  loss 0.5  0:16:10 left",
    ]


def test_plain_lines_are_spaced_but_the_ends_of_a_stage_and_evaluations_are_always_shown() -> None:
    stream, clock = io.StringIO(), Clock()
    tracker = ConsoleTracker(STAGES, stream=stream, clock=clock)
    for step in range(102):
        tracker.log(*(("sft", step) if step < 2 else ("redi", step - 2)), {"loss": 1.0})
        if step == 50:
            tracker.log("redi", step - 2, {"evaluation/accuracy": 0.25})
        clock.seconds += PLAIN_SECONDS / 40
    shown = [re.search(r"(\w+)  step (\d+)/", line).groups() for line in stream.getvalue().splitlines()]  # type: ignore[union-attr]
    assert shown == [("sft", "1"), ("sft", "2"), ("redi", "1"), ("redi", "41"), ("redi", "49"), ("redi", "89"), ("redi", "100")]
    assert "evaluation 0.25" in stream.getvalue()


def test_a_stage_of_unknown_length_shows_its_step_and_the_next_stage_starts_at_one() -> None:
    stream, clock = io.StringIO(), Clock()
    tracker = ConsoleTracker({"sft": 2, "grpo": None, "redi": 5}, stream=stream, clock=clock)
    for stage, step in [("sft", 0), ("sft", 1), ("grpo", 0), ("grpo", 1), ("grpo", 2), ("redi", 0), ("redi", 1)]:
        tracker.log(stage, step, {})
        clock.seconds += PLAIN_SECONDS
    steps = [line.split("  ", 1)[1] for line in stream.getvalue().splitlines()]
    assert steps == ["step 1/2", "step 2/2", "step 1", "step 2", "step 3", "step 1/5", "step 2/5  0:00:30 left"]


def test_a_stage_says_how_long_it_is_when_it_begins() -> None:
    stream = io.StringIO()
    tracker = ConsoleTracker({"redi": None}, stream=stream, clock=Clock())
    tracker.begin("redi", 7)
    tracker.log("redi", 0, {})
    assert stream.getvalue() == "[1/1] redi  step 1/7\n"


def test_a_resumed_run_estimates_from_its_own_steps_only() -> None:
    stream, clock = io.StringIO(), Clock()
    tracker = ConsoleTracker({"grpo": 100}, stream=stream, clock=clock)
    clock.seconds = 1000.0
    tracker.log("grpo", 49, {"loss": 1.0})
    clock.seconds = 1010.0
    tracker.log("grpo", 59, {"loss": 1.0})
    assert stream.getvalue().splitlines()[-1].endswith("0:00:40 left")


@pytest.mark.parametrize(
    ("terminal", "mode", "environment", "live"),
    [
        (True, "auto", {"TERM": "xterm"}, True),
        (True, "plain", {"TERM": "xterm"}, False),
        (True, "auto", {"TERM": "dumb"}, False),
        (True, "auto", {}, False),
        (True, "auto", {"TERM": "xterm", "CI": "true"}, False),
        (False, "auto", {"TERM": "xterm"}, False),
    ],
)
def test_the_live_bar_is_drawn_only_on_a_capable_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, mode: str, environment: dict[str, str], live: bool
) -> None:
    for name in ("TERM", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if terminal else io.StringIO()
    tracker = ConsoleTracker(STAGES, mode, stream=stream)  # type: ignore[arg-type]
    tracker.log("sft", 0, {"loss": 1.0})
    tracker.close()
    assert ("\x1b[" in stream.getvalue()) == live
    assert "step 1/2" in stream.getvalue() and "loss 1" in stream.getvalue()


def test_on_a_real_terminal_prints_of_others_stay_whole_lines() -> None:
    script = (
        "from rl_distill.tracking.console_tracker import ConsoleTracker\n"
        "tracker = ConsoleTracker({'a[b]': 3})\n"
        "for step in range(3):\n"
        "    tracker.log('a[b]', step, {'reward/mean': step / 2})\n"
        "    print('said by another', step)\n"
        "tracker.close()\n"
    )
    main, side = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", script], stdout=side, check=True, env=environment, timeout=60)
    os.close(side)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(main, 1_000_000).decode())
    os.close(main)
    lines = [line.strip() for part in text.split("\n") for line in part.split("\r")]
    assert [line for line in lines if line.startswith("said")] == [f"said by another {step}" for step in range(3)]
    assert any(re.search(r"\[1/1\] a\[b\] .*step 3/3  reward 1$", line) for line in lines), lines


@pytest.mark.parametrize("terminal", [False, True])
def test_a_closed_stream_ends_the_display_and_not_the_run(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    stream = Terminal() if terminal else io.StringIO()
    tracker = ConsoleTracker(STAGES, stream=stream)
    tracker.log("sft", 0, {"loss": 1.0})
    stream.close()
    tracker.log("sft", 1, {"loss": 1.0})
    tracker.artifact(Path("final"), "checkpoint", "final")
    tracker.close()
    tracker.log("redi", 0, {"loss": 1.0})


def test_a_reader_that_goes_away_leaves_the_process_healthy_to_its_end() -> None:
    script = (
        "import sys\n"
        "from rl_distill.tracking.console_tracker import ConsoleTracker\n"
        "tracker = ConsoleTracker({'sft': 2})\n"
        "sys.stdin.readline()\n"
        "for step in range(2):\n"
        "    tracker.log('sft', step, {'loss': 1.0})\n"
        "tracker.close()\n"
        "print('this goes nowhere')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.write("go\n")
    process.stdin.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), errors) == (0, "")


def test_an_unannounced_stage_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="'dpo'"):
        ConsoleTracker(STAGES, stream=io.StringIO()).log("dpo", 0, {"loss": 1.0})
