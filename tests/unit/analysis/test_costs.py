"""Costs add up over stages, know what they do not know, and are those of the run's folder alone."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib import pyplot
from run_costs import DRAWN, ROWS, result, write_run
from tiny_runs import rolled_out, taught

from rl_distill.analysis.cost_amounts import total
from rl_distill.analysis.cost_report import write_costs
from rl_distill.analysis.costs import Assumed, run_costs
from rl_distill.analysis.pareto import AXES, Point, bases, by_base, front, fronts, points
from rl_distill.analysis.pareto_figure import plot_pareto
from rl_distill.errors import InputError

DONE = {
    "base": result(0),
    "sft": result(2, **ROWS),
    "redi": result(2, accuracy=0.7, **ROWS),
    "grpo": result(2, drawn=20, accuracy=0.6, **ROWS, **DRAWN),
}


@pytest.fixture
def run(tmp_path) -> Path:
    return write_run(tmp_path / "run", DONE)


def by_name(path: Path, **assumed: float):
    return {route.name: route for route in run_costs(path, Assumed(**assumed)).routes}


def test_a_route_holds_every_stage_from_base_on_and_the_bill_each_once(run) -> None:
    routes, bill = by_name(run), run_costs(run).bill
    assert (routes["sft"].stages, routes["redi"].stages, routes["grpo"].stages) == (("sft",), ("sft", "redi"), ("grpo",))
    assert [routes[name].cost.trained_tokens for name in ("sft", "redi", "grpo")] == [6, 12, 6]
    assert bill.trained_tokens == 6 * 4 and bill.seconds["wall"] == 12
    assert routes["redi"].cost.student_flops == pytest.approx(2 * (routes["sft"].cost.student_flops or 0))


def test_a_data_set_that_two_stages_read_is_owed_once(run) -> None:
    routes = by_name(run)
    assert routes["sft"].cost.teacher_tokens == routes["redi"].cost.teacher_tokens == 2 * (12 + 10)
    assert routes["grpo"].cost.teacher_tokens == 0


def test_what_the_student_samples_itself_is_no_teachers(run) -> None:
    grpo = by_name(run)["grpo"].cost
    assert (grpo.sampled_tokens, grpo.prompts, grpo.prompt_tokens, grpo.teacher_flops, grpo.money) == (20, 2, 8, 0, 0)


def test_flops_follow_from_the_counts(run) -> None:
    """Hidden 16, two heads of 8, one of keys: layer 16*16 + 2*16*8 + 16*16 + 3*16*32 weights."""
    layer, grpo = 16 * 16 + 2 * 16 * 8 + 16 * 16 + 3 * 16 * 32, by_name(run)["grpo"].cost
    vocabulary = json.loads((run / "stages" / "sft" / "student" / "config.json").read_text())["vocab_size"]
    head, pairs = 16 * vocabulary, 4 * 1 * 16
    assert grpo.flops["training"] == 6 * layer * 10 + 3 * pairs * 100 + 8 * head * 6
    assert grpo.flops["sampling"] == (2 * layer * 8 + pairs * 32) + (2 * (layer + head) * 20 + pairs * 120)
    assert grpo.evaluation["flops"] == grpo.flops["sampling"], "measuring is counted, and in no route"
    assert by_name(run)["sft"].cost.flops["sampling"] == 0


def test_a_teachers_flops_are_unknown_without_its_size_and_are_never_zero(run) -> None:
    assert by_name(run)["sft"].cost.teacher_flops is None and by_name(run)["sft"].cost.all_flops is None
    assert by_name(run, teacher_weights=1e9)["sft"].cost.teacher_flops == 2 * 1e9 * 44


def test_steps_that_were_not_counted_make_flops_unknown_with_the_reason(tmp_path) -> None:
    resumed = {**DONE["sft"], "work": {"steps": 1, **ROWS}}
    found = run_costs(write_run(tmp_path / "run", DONE | {"sft": resumed}))
    sft, redi = found.stages["sft"], {route.name: route for route in found.routes}["redi"]
    assert sft.cost.student_flops is None and sft.cost.prompts is None and "did not count" in sft.notes[0]
    assert redi.cost.student_flops is None and redi.cost.trained_tokens == 12


def test_devices_are_paid_by_the_hour_beside_the_teacher(run) -> None:
    assert by_name(run, price=1800.0)["redi"].cost.money == pytest.approx(8.0 / 3600 * 1800)


def test_curated_data_brings_its_own_bill(tmp_path) -> None:
    curated = tmp_path / "data"
    curated.mkdir()
    (curated / "sft.jsonl").write_text("")
    part = {"prompt_tokens": 100, "completion_tokens": 400, "price": 1.5}
    (curated / "card.json").write_text(json.dumps({"generation": part, "probes": {"bills": {"write, teacher": part}}}))

    source = {"name": "dataset", "problems": {"name": "records", "path": str(curated / "sft.jsonl")}}
    stages = [taught("sft", source=source), taught("redi", source=source), rolled_out("grpo", start="base")]
    routes = by_name(write_run(tmp_path / "run", DONE, changes={"stages": stages}))
    assert routes["redi"].cost.teacher_tokens == 1000 and routes["redi"].cost.money == 3.0
    assert routes["grpo"].cost.money == 0


def test_text_that_nobody_billed_has_an_unknown_price(tmp_path) -> None:

    source = {"name": "dataset", "problems": {"name": "gsm8k_solutions"}}
    stages = [taught("sft", source=source), taught("redi", source=source), rolled_out("grpo", start="base")]
    routes = by_name(write_run(tmp_path / "run", DONE, changes={"stages": stages}))
    assert routes["sft"].cost.teacher_tokens == 44 and routes["sft"].cost.money is None


def test_an_unfinished_run_costs_what_is_finished_and_says_what_is_not(tmp_path) -> None:
    found = run_costs(write_run(tmp_path / "run", {name: DONE[name] for name in ("base", "sft")}))
    assert found.unfinished == ("redi", "grpo") and [route.name for route in found.routes] == ["base", "sft"]
    assert "unfinished, and not counted: redi, grpo" in write_costs([found], tmp_path / "out")


def test_a_base_from_the_cache_has_no_seconds_by_phase_and_an_unknown_teacher(tmp_path) -> None:
    found = run_costs(write_run(tmp_path / "run", DONE | {"base": result(3, **ROWS)}))
    base = found.stages["base"]
    assert base.cost.seconds["wall"] == 6 and base.cost.seconds["training"] is None and base.bills is None
    assert base.cost.student_flops is not None and found.bill.teacher_tokens is None


def test_a_folder_that_is_no_run_and_one_without_a_finished_stage_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        run_costs(tmp_path)
    with pytest.raises(InputError, match="has finished no stage"):
        run_costs(write_run(tmp_path / "run", {}))


def test_without_evaluation_there_is_a_table_and_no_figure_and_that_is_said(tmp_path) -> None:
    results = {name: found | {"evaluation": None, "evaluations": {}} for name, found in DONE.items()}
    lines = write_costs([run_costs(write_run(tmp_path / "run", results))], tmp_path / "out")
    assert not (tmp_path / "out" / "pareto.png").exists() and "nothing was evaluated" in lines[-1]


def test_the_report_is_a_table_data_and_a_figure(run, tmp_path) -> None:
    lines = write_costs([run_costs(run)], tmp_path / "out")
    data = json.loads((tmp_path / "out" / "costs.json").read_text())
    assert (tmp_path / "out" / "pareto.png").stat().st_size > 10_000
    assert data["runs"][0]["routes"][2]["cost"]["trained_tokens"] == 12
    assert data["runs"][0]["routes"][1]["cost"]["teacher_flops"] is None
    assert any("unknown" in line for line in lines) and "FLOPs of teacher and student" in lines[-1]


def test_runs_that_were_measured_on_different_problems_are_not_drawn_together(run, tmp_path) -> None:
    other = write_run(tmp_path / "other", {"base": result(0, problem="q")})
    with pytest.raises(InputError, match="other problems"):
        write_costs([run_costs(run), run_costs(other)], tmp_path / "out")


def asked(run: Path, *rows: tuple[str, str, str | None]) -> Path:
    """Write down what a run's students were asked."""
    lines = [{"problem": problem, "prompt": prompt, "answer": answer} for problem, prompt, answer in rows]
    (run / "stages" / "base" / "evaluation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("p", "2 + 3 = ?", "5")], "1 are worded or solved otherwise, such as 'p'"),
        ([("p", "2 + 2 = ?", "5")], "1 are worded or solved otherwise, such as 'p'"),
        ([("p", "2 + 2 = ?", "4"), ("q", "", None)], "1 are only in the second one, such as 'q'"),
        ([("p", "2 + 2 = ?", "4")], None),
    ],
)
def test_problems_are_the_same_if_they_ask_the_same_whatever_their_ids(run, tmp_path, rows, words) -> None:
    first = run_costs(asked(run, ("p", "2 + 2 = ?", "4")))
    second = run_costs(asked(write_run(tmp_path / "other", DONE), *rows))
    if words is None:
        assert write_costs([first, second], tmp_path / "out")
        return
    with pytest.raises(InputError, match=f"other' was measured on other problems than .*run': {words}"):
        write_costs([first, second], tmp_path / "out")


def test_a_problem_that_one_route_could_not_be_judged_at_does_not_part_a_run_from_itself(tmp_path) -> None:
    results = DONE | {"sft": result(2, problem="q", **ROWS)}
    run = asked(write_run(tmp_path / "run", results), ("p", "", "1"), ("q", "", "1"))
    assert any("pareto.png" in line for line in write_costs([run_costs(run)], tmp_path / "out"))


def test_a_damaged_record_of_answers_is_refused(run, cli) -> None:
    (run / "stages" / "base" / "evaluation.jsonl").write_text("{}\n")
    code, _, said = cli("costs", run)
    assert code == 2 and "is no record of a stage's answers" in said and said.count("\n") == 1


def test_what_a_student_cost_whom_others_trained_is_unknown_and_in_no_sum(run, tmp_path) -> None:
    student = {"model": str(run / "stages" / "sft" / "student")}
    found = run_costs(write_run(tmp_path / "started", DONE, changes={"student": student}))
    base = found.stages["base"].cost
    assert not found.base_made and {base.teacher_tokens, base.sampled_tokens, base.trained_tokens, base.money} == {None}
    assert {base.student_flops, base.teacher_flops, base.device_seconds, base.seconds["wall"]} == {None}
    assert found.bill.trained_tokens == 18 and found.bill.student_flops is not None
    lines = write_costs([found], tmp_path / "out")
    (row,) = [line for table in lines for line in table.split("\n") if line.startswith("| base") and "0.500" in line]
    assert row.count("unknown") == 7
    assert any("all but base once" in line for line in lines)
    assert any("unknown of base: making it" in line for line in lines)


def test_a_student_built_from_a_seed_and_not_trained_cost_nothing(run) -> None:
    assert by_name(run)["base"].cost.trained_tokens == 6 and by_name(run)["base"].cost.device_seconds == 0
    assert run_costs(run).base_made


def test_a_figure_has_base_as_a_line_the_rest_as_points_and_names_what_is_unknown(run, tmp_path) -> None:
    found = run_costs(run)
    routes = [
        replace(route, cost=replace(route.cost, trained_tokens=None)) if route.name == "redi" else route for route in found.routes
    ]
    some = [replace(found, routes=tuple(routes))]
    assert [point.label for point in points(some, "tokens trained on")] == ["sft", "redi", "grpo"]
    assert [point.label for point in bases(some)] == ["base"]
    left_out = plot_pareto(some, tmp_path / "pareto.png")
    assert left_out[0] == "left out of tokens trained on, for theirs is unknown: redi"


@pytest.mark.parametrize(
    ("amounts", "ticks"),
    [
        ([0, 3e4, 5e7], ["0", "10 k", "100 k", "1 M", "10 M"]),
        ([3e4, 5e7], ["100 k", "1 M", "10 M"]),
        ([2, 3e9], ["100", "10 k", "1 M", "100 M"]),
        ([0, 3e4, 5e4], ["0", "10 k", "20 k", "30 k", "40 k", "50 k"]),
    ],
)
def test_ticks_of_a_wide_axis_are_powers_of_ten(run, tmp_path, monkeypatch, amounts, ticks) -> None:
    """And there are at most seven: of a figure as it is drawn, those within the axis."""
    found = run_costs(run)
    routes = [route for route in found.routes if route.name == "base"]
    for place, amount in enumerate(amounts):
        route = found.routes[-1]
        routes.append(replace(route, name=f"r{place}", cost=replace(route.cost, sampled_tokens=amount)))
    drawn = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    plot_pareto([replace(found, routes=tuple(routes))], tmp_path / "pareto.png")
    axis = next(axis for axis in drawn[0].axes if axis.get_xlabel() == "tokens sampled by the student")
    left, right = axis.get_xlim()
    assert left < min(amounts) and max(amounts) < right
    shown = [label for label in axis.get_xticklabels() if left <= label.get_position()[0] <= right]
    assert [label.get_text() for label in shown] == ticks
    boxes = [label.get_window_extent() for label in shown]
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes)), "labels lie on each other"
    steps = [line for line in axis.lines if line.get_drawstyle() == "steps-post"]
    assert len(steps) == 1 and steps[0].get_xdata()[-1] == right
    monkeypatch.undo()
    pyplot.close(drawn[0])


def test_the_front_holds_whom_nobody_beats_for_as_little() -> None:
    made = [
        Point(label=str(x), amount=x, accuracy=y, low=0, high=1) for x, y in [(0, 0.1), (2, 0.3), (2, 0.5), (3, 0.4), (9, 0.6)]
    ]
    assert [(point.amount, point.accuracy) for point in front(made)] == [(0, 0.1), (2, 0.5), (9, 0.6)]


def test_each_base_student_has_a_front_of_its_own_and_the_legend_says_whose(run, tmp_path, monkeypatch) -> None:
    one = run_costs(run)
    twin, other = replace(one, seed=1), replace(one, name="larger", base="another/model")
    assert by_base([one, other, twin]) == [[one, twin], [other]]
    axis = "tokens trained on"
    assert len(fronts([one, twin], axis)) == 1
    both = fronts([one, other], axis)
    assert [{point.label.partition(",")[0] for point in found} for found in both] == [{one.name}, {"larger"}]
    drawn = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    plot_pareto([one, other], tmp_path / "pareto.png")
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert [text for text in legend if text.startswith("nobody")] == [
        f"nobody is better for as little, from the base of {name}" for name in (one.name, "larger")
    ]
    monkeypatch.undo()
    pyplot.close(drawn[0])


def test_an_unknown_part_makes_an_unknown_sum() -> None:
    assert total([1.0, None]) is None and total([]) == 0
    assert len(AXES) == 7


@pytest.mark.parametrize("name", ["teacher_weights", "price"])
def test_what_is_assumed_has_to_be_an_amount(name) -> None:
    with pytest.raises(InputError, match=name.replace("_", "-")):
        Assumed(**{name: -1.0})
