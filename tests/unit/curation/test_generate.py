"""Every row is asked for once, whatever happens in between."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import teacher_process
from chat_server import chat_server
from teacher_calls import asked, settings_of, teacher_at

from rl_distill.curation.budget import Budget, Prices
from rl_distill.curation.generate import Generation, Unfinished, generate, generate_async
from rl_distill.curation.procedural_teacher import ProceduralTeacher
from rl_distill.curation.store import ResponseStore
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.errors import InputError

QUESTIONS = [f"question {number}" for number in range(40)]
ROOT = Path(__file__).parents[3]


def start(store: Path, url: str, questions: list[str], concurrency: int = 2) -> "subprocess.Popen[str]":
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, teacher_process.__file__, str(store), url, str(concurrency), *questions]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def stored_questions(root: Path) -> set[str]:
    """Of the whole lines that lie on disk."""
    lines = [line for path in root.rglob("*.jsonl") for line in path.read_bytes().split(b"\n")[:-1]]
    return {json.loads(line)["response"]["text"].rpartition(" ")[0] for line in lines}


def test_a_process_killed_again_and_again_makes_no_call_twice_whose_answer_is_on_disk(tmp_path):
    rng = random.Random(0)
    with chat_server(seconds=0.05) as server:
        known: list[tuple[float, set[str]]] = []
        for _ in range(4):
            process = start(tmp_path, server.base_url, QUESTIONS)
            seen = len(stored_questions(tmp_path))
            while len(stored_questions(tmp_path)) < seen + rng.randint(1, 6):
                time.sleep(0.01)
            time.sleep(rng.random() * 0.05)
            process.kill()
            process.wait()
            known.append((time.monotonic(), stored_questions(tmp_path)))
        assert start(tmp_path, server.base_url, QUESTIONS).wait() == 0
        calls = server.calls()
    for moment, questions in known:
        assert not questions & {call["question"] for call in calls if call["began"] > moment}
    assert stored_questions(tmp_path) == set(QUESTIONS)
    assert len(calls) <= len(QUESTIONS) + 4 * 2  # what was under way at a kill


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_is_under_way_end_and_saves_it(tmp_path, number):
    with chat_server(seconds=0.3) as server:
        process = start(tmp_path, server.base_url, QUESTIONS)
        while not server.calls():
            time.sleep(0.01)
        process.send_signal(number)
        out, _ = process.communicate()
        calls = server.calls()
        assert process.returncode == 1 and f"stopped: stopped by {number.name}; " in out
        assert "calls are under way and will be saved" in out
        assert {call["question"] for call in calls} == stored_questions(tmp_path)
        assert 1 <= len(calls) <= 4
        assert start(tmp_path, server.base_url, QUESTIONS[:4]).wait() == 0
        assert len(server.calls()) == 4


def test_a_second_signal_does_not_wait(tmp_path):
    with chat_server() as server:
        process = start(tmp_path, server.base_url, ["fast", "slow: hang"])
        while len(server.calls()) < 2 or not stored_questions(tmp_path):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        while "will be saved" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 1  # the call would have taken 20 s
    assert stored_questions(tmp_path) == {"fast"}


def test_rows_come_in_the_order_of_the_requests_whoever_answers_first(curate):
    questions = ["late: 500, 500, ok", *QUESTIONS[:10], "other: empty, ok"]
    with chat_server() as server:
        made = curate(teacher_at(server.base_url, concurrency=8), asked(questions, num_samples=2))
    assert [response.problem_id for response in made.responses] == [f"p{number}" for number in range(12) for _ in range(2)]
    assert [response.row_key[-1] for response in made.responses] == ["0", "1"] * 12


def test_a_repeat_asks_for_failed_rows_only(curate):
    questions = ["well", "odd: 400, ok", "cut short: length"]
    with chat_server() as server:
        first = curate(teacher_at(server.base_url), asked(questions), min_success_rate=0)
        assert [response.failure for response in first.responses] == [None, "permanent", "length"]
        second = curate(teacher_at(server.base_url), asked(questions))
        assert [response.failure for response in second.responses] == [None, None, "length"]
        assert [attempt.failure for attempt in second.responses[1].attempts] == ["permanent", None]
        assert len(server.calls()) == 4
    assert any(note.startswith("2 of 3 rows are stored already, answered by 127.0.0.1") for note in second.notes)


def test_more_rows_and_more_samples_cost_only_themselves(curate):
    with chat_server() as server:
        curate(teacher_at(server.base_url), asked(QUESTIONS[:5]))
        curate(teacher_at(server.base_url), asked(QUESTIONS[3:8], num_samples=2))
        assert len(server.calls()) == 5 + 3 + 5


def test_too_many_failed_rows_end_it_early_with_the_first_of_them(curate):
    questions = [f"{number}: 400" for number in range(50)] + QUESTIONS
    with chat_server() as server:
        with pytest.raises(Unfinished) as caught:
            curate(teacher_at(server.base_url, concurrency=1), asked(questions), min_success_rate=0.9)
        assert len(server.calls()) == 10
    assert "10 rows failed, too many for min_success_rate 0.9" in str(caught.value)
    assert "the first failed row: permanent, HTTP 400: bad" in str(caught.value)


def test_no_rows_are_an_error_and_not_an_empty_success(server, curate):
    with pytest.raises(InputError, match="the pool is empty"):
        curate(teacher_at(server.base_url), [])


@pytest.mark.parametrize(
    ("budget", "prices", "limit"),
    [
        (Budget(max_tokens=1200), Prices(), "budget.max_tokens 1200"),
        (Budget(max_price=0.002), Prices(input_per_million=0.5, output_per_million=4.0), "budget.max_price 0.002"),
    ],
)
def test_a_budget_is_never_passed_however_many_calls_are_under_way(tmp_path, budget, prices, limit):
    requests = asked([str(number) for number in range(300)])
    settings = Generation(budget=budget, prices=prices)
    with chat_server(seconds=0.01) as server:
        for _ in range(2):  # the second process knows what the first one spent
            teacher = teacher_at(server.base_url, concurrency=16)
            with ResponseStore(tmp_path, settings_of(teacher)) as store:
                with pytest.raises(Unfinished, match=f"{limit} would be passed by the next call"):
                    generate(teacher, requests, store, settings, lambda note: None)
                spent = store.spent
        num_calls = len(server.calls())
    assert spent.tokens == 15 * num_calls
    assert spent.price == pytest.approx(prices.of(10, 5) * num_calls)
    assert (spent.tokens <= 1200) if budget.max_tokens else (spent.price <= 0.002)
    assert num_calls > 20


def test_after_the_time_limit_no_call_is_begun(curate):
    with chat_server(seconds=0.1) as server:
        with pytest.raises(Unfinished, match="budget.max_seconds 0.35 is over"):
            curate(teacher_at(server.base_url, concurrency=2), asked(QUESTIONS), budget=Budget(max_seconds=0.35))
        assert 2 <= len(server.calls()) <= 20


def test_the_time_limit_also_reaches_those_that_wait_for_their_turn(curate):
    with chat_server() as server, pytest.raises(Unfinished, match="budget.max_seconds 0.3 is over"):
        teacher = teacher_at(server.base_url, requests_per_minute=1)
        curate(teacher, asked(QUESTIONS), budget=Budget(max_seconds=0.3))


@pytest.mark.parametrize(
    ("budget", "warning"),
    [(Budget(), ""), (Budget(max_price=0.011), ", which passes budget.max_price 0.011: it will stop before the end")],
)
def test_what_all_will_cost_is_said_after_the_first_rows_with_the_limit_it_passes(tmp_path, budget, warning):
    settings = Generation(prices=Prices(input_per_million=1.0, output_per_million=2.0), budget=budget)
    notes: list[str] = []
    with chat_server() as server:
        teacher = teacher_at(server.base_url)
        with ResponseStore(tmp_path, settings_of(teacher)) as store, suppress(Unfinished):
            generate(teacher, asked([str(number) for number in range(600)]), store, settings, notes.append)
    assert notes[0] == f"projected for all 600 rows: 9,000 tokens, 0.012 in money{warning}"


def test_a_long_run_says_how_far_it_is(curate, monkeypatch):
    monkeypatch.setattr("rl_distill.curation.generate.PROGRESS_SECONDS", 0.0)
    with chat_server() as server:
        made = curate(teacher_at(server.base_url), asked(["a", "odd: 400", "b"]), min_success_rate=0)
    lines = [note for note in made.notes if " a second, about 0:00:0" in note]
    assert lines[-1].startswith("3 of 3 rows, 1 failed, ") and len(lines) == 3


def test_a_loop_that_is_running_already_can_await_it(tmp_path):
    async def notebook() -> int:
        teacher = ProceduralTeacher()
        with ResponseStore(tmp_path, settings_of(teacher)) as store:
            made = await generate_async(
                teacher, asked(["1 + 2 + 3 = ?"], sampling=TeacherSampling(max_tokens=9)), store, Generation(), print
            )
            return len(list(made.responses()))

    assert asyncio.run(notebook()) == 1
