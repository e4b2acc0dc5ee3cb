"""Judging over HTTP, with judges that are good, careless, lying and dead."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge_server import JudgeServer, judge_server
from recorded_answers import Said, write_groups

from rl_distill.analysis.behavior_judge import BehaviorJudge, judge_behaviors, load_judge
from rl_distill.analysis.behavior_report import behavior_differences, behavior_report
from rl_distill.analysis.rates import Resampling
from rl_distill.analysis.samples import SampleSet, read_samples
from rl_distill.curation.endpoint import EndpointConfig
from rl_distill.curation.failures import RetryPolicy
from rl_distill.curation.generate import Generation, Unfinished
from rl_distill.curation.openai_teacher import OpenAiTeacherConfig

FAST = RetryPolicy(max_attempts=2, first_pause=0.01, max_pause=0.02, max_pauses=8)
NOTHING = '{"spans": []}'


def spans(*pairs: tuple[str, str]) -> str:
    return json.dumps({"spans": [{"behavior": behavior, "quote": quote, "reason": "so"} for behavior, quote in pairs]})


def shown(question: str) -> str:
    """The part of a response that a judge was given."""
    return question.partition("# Text\n")[2].partition("\n\n# What to reply")[0]


def good(question: str, seed: int) -> str:
    return spans(*(("verification", found.group()) for found in re.finditer("check \\d+", shown(question))))


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server(good) as running:
        yield running


@pytest.fixture
def judge(server: JudgeServer) -> Callable[..., BehaviorJudge]:
    def make(*, min_success_rate: float = 0.95, concurrency: int = 32, **settings: object) -> BehaviorJudge:
        endpoint = EndpointConfig(base_url=server.base_url, concurrency=concurrency)
        model = OpenAiTeacherConfig(model="judge", endpoints=(endpoint,), request_timeout=30.0)
        return BehaviorJudge(model=model, limits=Generation(retry=FAST, min_success_rate=min_success_rate), **settings)

    return make


@pytest.fixture
def samples(tmp_path: Path) -> Callable[..., SampleSet]:
    def make(*texts: str, name: str = "secret-model", status: str = "correct") -> SampleSet:
        path = write_groups(tmp_path / f"{name}.jsonl", {f"p{place}": [Said(text, status)] for place, text in enumerate(texts)})
        return read_samples(str(path))

    return make


def quiet(line: str) -> None:
    pass


def report(judged, some: SampleSet) -> dict:
    return behavior_report(judged, some, "tokens", Resampling(list(some.prompts), 0))


def test_spans_are_counted_per_response_per_thousand_tokens_and_per_solved_one(judge, samples, tmp_path) -> None:
    some = samples("check 1 check 2", "nothing here at all", "check 3")
    (judged,) = judge_behaviors(judge(), [some], tmp_path / "store", quiet)
    found = report(judged, some)
    verification = found["behaviors"]["verification"]
    assert (found["judged"], found["unreadable"], verification["count"]) == (3, 0, 3)
    assert verification["per_response"]["value"] == verification["per_solved_response"]["value"] == 1
    assert verification["per_thousand"]["value"] == pytest.approx(3000 / 10)
    assert verification["share_of_responses"]["value"] == pytest.approx(2 / 3)
    assert (verification["kappa"], verification["agreement"]) == (1, 1)
    assert found["answers"] == {"good": 6, "without_spans": 2}


def test_the_judge_is_blind_and_asked_twice_with_other_seeds_in_shuffled_order(judge, samples, server, tmp_path) -> None:
    texts = [f"check {number}" for number in range(12)]
    some, other = samples(*texts), samples(*(f"wrong check {number}" for number in range(12)), name="rival", status="wrong")
    judge_behaviors(judge(concurrency=1), [some, other], tmp_path / "store", quiet)
    asked = [body["messages"][-1]["content"] for body in server.bodies]
    assert len(asked) == 48 and len(set(asked)) == 24
    assert len({body["seed"] for body in server.bodies}) == 48
    for body in server.bodies:
        assert not re.search(r"secret-model|rival|\.jsonl|\bm\b", json.dumps(body["messages"]))
    first_half = [shown(question).startswith("wrong") for question in asked[:24]]
    assert 2 < sum(first_half) < 22


def test_false_long_and_empty_quotes_are_dropped_and_counted(judge, samples, server, tmp_path) -> None:
    quotes = ("check 1", "never said", "check 1 " * 13, "")
    server.reply = lambda question, seed: spans(*(("verification", quote) for quote in quotes))
    some = samples("check 1 and so on")
    found = report(*judge_behaviors(judge(), [some], tmp_path / "store", quiet), some)
    assert found["behaviors"]["verification"]["count"] == 1
    assert found["dropped_quotes"] == {"not_in_text": 2, "too_long": 2, "empty": 2}


def test_a_judge_that_quotes_nothing_finds_nothing(judge, samples, server, tmp_path) -> None:
    server.reply = lambda question, seed: NOTHING
    some = samples("check 1", "check 2")
    found = report(*judge_behaviors(judge(), [some], tmp_path / "store", quiet), some)
    assert found["answers"] == {"good": 4, "without_spans": 4}
    assert found["behaviors"]["verification"]["share_of_responses"]["value"] == 0
    assert found["behaviors"]["verification"]["kappa"] is None


@pytest.mark.parametrize("around", ["```json\n{}\n```", "```\n{}```\n", " \n```JSON\r\n{}\n``` "])
def test_an_answer_in_a_block_of_markdown_is_read(around, judge, samples, server, tmp_path) -> None:
    server.reply = lambda question, seed: around.format(spans(("verification", "check 1"), ("verification", "```no\n```")))
    some = samples("check 1")
    found = report(*judge_behaviors(judge(), [some], tmp_path / "store", quiet), some)
    assert found["answers"] == {"good": 2} and found["behaviors"]["verification"]["count"] == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("I think the student verifies a lot.", "schema"),
        ('{"spans": [{"behavior": "verif', "schema"),
        (('{"spans": [{"behavior": "verif', "length"), "length"),
        ('{"spans": [{"behavior": "genius", "quote": "check 1", "reason": ""}]}', "schema"),
        (" ", "empty"),
        ("```json\nI think so.\n```", "schema"),
        ("```json\n```", "schema"),
    ],
)
def test_an_answer_that_cannot_be_read_leaves_its_response_out(reply, kind, judge, samples, server, tmp_path) -> None:
    server.reply = lambda question, seed: reply if "broken" in shown(question) else good(question, seed)
    some = samples("check 1", "broken check 2", "no")
    found = report(*judge_behaviors(judge(min_success_rate=0.5), [some], tmp_path / "store", quiet), some)
    assert (found["judged"], found["unreadable"]) == (2, 1)
    assert found["answers"][f"failed: {kind}"] == 2
    assert found["behaviors"]["verification"]["count"] == 1


def test_a_judge_that_writes_prose_throughout_ends_the_judging(judge, samples, server, tmp_path) -> None:
    server.reply = lambda question, seed: "Prose, and nothing but prose."
    with pytest.raises(Unfinished, match="0 of 4 rows have an answer"):
        judge_behaviors(judge(), [samples("check 1", "check 2")], tmp_path / "store", quiet)


def test_a_judging_that_ended_early_goes_on_without_asking_again(judge, samples, server, tmp_path) -> None:
    some = samples(*(f"check {number}" for number in range(6)))
    server.reply = lambda question, seed: "prose" if len(server.bodies) > 5 else good(question, seed)
    with pytest.raises(Unfinished):
        judge_behaviors(judge(), [some], tmp_path / "store", quiet)
    answered = len(server.bodies)
    server.reply = good
    (judged,) = judge_behaviors(judge(), [some], tmp_path / "store", quiet)
    assert report(judged, some)["behaviors"]["verification"]["count"] == 6
    assert len(server.bodies) - answered < 12
    before = len(server.bodies)
    judge_behaviors(judge(), [some], tmp_path / "store", quiet)
    assert len(server.bodies) == before


def test_a_long_response_is_shown_in_parts_and_what_two_of_them_hold_counts_once(judge, samples, server, tmp_path) -> None:
    text = "\n\n".join(f"check {number:03d} " + "and on " * 8 for number in range(60))
    some = samples(text)
    (judged,) = judge_behaviors(judge(part_chars=600, overlap_chars=200), [some], tmp_path / "store", quiet)
    asked = [shown(body["messages"][-1]["content"]) for body in server.bodies]
    assert len(asked) >= 20 and max(map(len, asked)) <= 600
    assert sum(len(re.findall("check", part)) for part in asked) > 2 * 60 + 10
    assert report(judged, some)["behaviors"]["verification"]["count"] == 60


def test_two_passes_that_disagree_have_a_low_kappa(judge, samples, server, tmp_path) -> None:
    server.reply = lambda question, seed: good(question, seed) if seed % 2 else NOTHING
    some = samples(*(f"check {number}" for number in range(40)))
    found = report(*judge_behaviors(judge(), [some], tmp_path / "store", quiet), some)["behaviors"]["verification"]
    assert abs(found["kappa"]) < 0.5 and 0.2 < found["agreement"] < 0.8


def test_keywords_first_asks_only_where_one_stands(judge, samples, server, tmp_path) -> None:
    some = samples("we check 1", "nothing at all", "")
    (judged,) = judge_behaviors(judge(keywords_first=True), [some], tmp_path / "store", quiet)
    assert [shown(body["messages"][-1]["content"]) for body in server.bodies] == ["we check 1"] * 2
    assert report(judged, some)["judged"] == 3


def test_two_models_are_compared_on_the_same_problems(judge, samples, server, tmp_path) -> None:
    first, second = samples(*["check 1"] * 8), samples(*["check 1 check 2"] * 8, name="rival")
    judged = judge_behaviors(judge(), [first, second], tmp_path / "store", quiet)
    found = behavior_differences(tuple(judged), (first, second), "tokens", Resampling(list(first.prompts), 0))
    assert found["verification"]["per_response"] == {"value": 1, "low": 1, "high": 1, "separated": True}
    assert not found["backtracking"]["per_response"]["separated"]


def test_the_recipe_in_the_guide_loads(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "analyze.md").read_text()
    (block,) = [code for code in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if code.startswith("model:")]
    (tmp_path / "judge.yaml").write_text(block)
    assert load_judge(tmp_path / "judge.yaml").limits.budget.max_price == 5
