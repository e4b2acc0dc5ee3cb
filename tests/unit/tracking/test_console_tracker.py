"""The console: what it shows on a terminal and elsewhere, and that it never stops a run."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rl_distill.tracking.console_tracker import PLAIN_SECONDS, REDRAW_SECONDS, ConsoleTracker

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
        "[2/2] redi  step 3/100  0:16:10 left  loss 0.5",
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


def test_an_alarm_is_always_said_at_once_with_the_step_as_the_lines_count_it() -> None:
    stream = io.StringIO()
    tracker = ConsoleTracker(STAGES, stream=stream, clock=Clock())
    for step in range(3):
        tracker.log("redi", step, {"loss": 1.0})
        tracker.alert("redi", step, "collapse", "logprob/chosen fell")
    assert stream.getvalue().splitlines() == [
        "[2/2] redi  step 1/100  loss 1",
        *(f"warning: redi, step {done}: collapse: logprob/chosen fell" for done in (1, 2, 3)),
    ]


def live(monkeypatch: pytest.MonkeyPatch, width: int, clock: Clock) -> tuple[ConsoleTracker, Terminal]:
    """A tracker that draws on a terminal of so many columns."""
    for name, value in {"TERM": "xterm", "COLUMNS": str(width)}.items():
        monkeypatch.setenv(name, value)
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    stream = Terminal()
    return ConsoleTracker({"distillation": 2000, "grpo": 10}, stream=stream, clock=clock), stream


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_live_alarm_stays_on_the_screen_in_a_color_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, stream = live(monkeypatch, 100, Clock())
    tracker.log("distillation", 40, {"loss": 1.0})
    tracker.alert("distillation", 40, "collapse", "[not markup] fell")
    tracker.log("distillation", 41, {"loss": 1.0})
    tracker.close()
    warning = "warning: distillation, step 41: collapse: [not markup] fell"
    assert without_codes(stream.getvalue()).count(warning) == 1
    assert re.search(r"\x1b\[1;33m" + re.escape(warning), stream.getvalue())


@pytest.mark.parametrize("width", [50, 60, 80, 200])
def test_a_narrow_terminal_loses_metrics_before_it_loses_the_stage_or_the_time(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    clock = Clock()
    tracker, stream = live(monkeypatch, width, clock)
    for step in range(2):
        tracker.log(
            "distillation", step, {"loss": 0.5, "logprob/chosen": -0.25, "logprob/margin": 1.5, "evaluation/accuracy": 0.5}
        )
        clock.seconds += 1
    tracker.close()
    last = without_codes(stream.getvalue()).splitlines()[-1]
    assert "[1/2] distillation" in last and "step 2/2000" in last and len(last.rstrip()) <= width
    assert ("0:33:18 left" in last) == (width >= 80)
    assert ("evaluation 0.5" in last) == (width == 200) and "…" not in last


def test_fast_steps_do_not_redraw_the_bar_each_time_and_the_last_state_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, stream = live(monkeypatch, 100, clock := Clock())
    for step in range(1000):
        tracker.log("distillation", step, {"loss": 1.0})
        clock.seconds += REDRAW_SECONDS / 100
    tracker.close()
    text = without_codes(stream.getvalue())
    assert 10 <= len(re.findall(r"step \d+/2000", text)) <= 15 and "step 1000/2000" in text.splitlines()[-1]


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
    assert "step 60/100  0:00:40 left" in stream.getvalue().splitlines()[-1]


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
    text = without_codes(os.read(main, 1_000_000).decode())
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
