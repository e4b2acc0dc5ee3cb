import json
import threading
from pathlib import Path

import pytest
from judge_server import judge_server
from recorded_answers import Said

from rl_distill.analysis.analyze import analyze
from rl_distill.errors import InputError


def test_two_sets_make_a_report_a_page_and_figures(groups_file, tmp_path: Path) -> None:
    first = groups_file("first", {f"p{n}": [Said("so it is 4"), Said("", "unverifiable", tokens=1)] for n in range(4)})
    second = groups_file("second", {f"p{n}": [Said("wait hmm it is 4"), Said("but no", "wrong")] for n in range(4)})
    report = analyze([str(first), str(second)], tmp_path / "out")
    assert json.loads((tmp_path / "out" / "analysis.json").read_text()) == report
    assert report["samples"][0]["empty"] == 4
    difference = report["token_classes"]["second_minus_first"]["classes"]["anthropomorphic"]["whole"]
    assert difference["separated"] and difference["value"] == pytest.approx(1000 * 2 / 7)
    assert len(report["token_classes"]["sha256"]) == 64
    assert "second.jsonl minus" in (tmp_path / "out" / "analysis.md").read_text()
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"lengths.png", "classes.png"}


def test_a_response_of_a_million_tokens_in_any_script_is_read(groups_file, tmp_path: Path) -> None:
    text = "Wait \u7b49\u7b49 \u043d\u0430\u0440\u043e\u0434 cafe\u0301 12 " * 200_000
    report = analyze([str(groups_file("long", {"a": [Said(text)]}))], tmp_path)
    assert report["token_classes"]["sets"][str(tmp_path / "long.jsonl")]["anthropomorphic"]["all"]["count"] == 200_000


def test_the_page_says_where_cut_answers_end_a_curve(groups_file, tmp_path: Path) -> None:
    first = groups_file("first", {"a": [Said("x", tokens=30), Said("y", "wrong", tokens=12, finish="length")]})
    second = groups_file("second", {"a": [Said("x", tokens=30)]})
    report = analyze([str(first), str(second)], tmp_path / "out")
    assert max(point["budget"] for point in report["budget"][str(first)]) == 12
    assert max(point["budget"] for point in report["budget"][str(second)]) == 30
    page = (tmp_path / "out" / "analysis.md").read_text()
    assert f"1 of 2 judged responses of {first} were cut off, the shortest after 12 tokens" in page
    assert f"responses of {second}" not in page


@pytest.mark.parametrize("said", [[Said("", "wrong", tokens=0, finish="length"), Said("x")], [Said("x", "unverifiable")]])
def test_a_set_whose_curve_is_empty_is_drawn_without_it(said, groups_file, tmp_path: Path) -> None:
    report = analyze([str(groups_file("cut", {"a": said}))], tmp_path / "out")
    assert list(report["budget"].values()) == [[]] and (tmp_path / "out" / "lengths.png").exists()


def test_a_set_is_in_the_legend_whatever_its_name_begins_with(groups_file, tmp_path: Path, monkeypatch, recwarn) -> None:
    groups_file("_first", {"a": [Said("so it is 4")]})
    monkeypatch.chdir(tmp_path)
    analyze(["_first.jsonl"], tmp_path / "out")
    assert not [one for one in recwarn if "legend" in str(one.message)]


def test_the_same_set_twice_is_refused(groups_file, tmp_path: Path) -> None:
    path = str(groups_file("one", {"a": [Said("x")]}))
    with pytest.raises(InputError, match="once more"):
        analyze([path, path], tmp_path)


def test_the_command_writes_what_a_judge_found_and_says_when_it_fails(cli, groups_file, tmp_path: Path) -> None:
    samples = groups_file("one", {f"p{n}": [Said("let me check it")] for n in range(3)})
    quoting = '{"spans": [{"behavior": "verification", "quote": "let me check", "reason": "r"}]}'
    with judge_server(lambda question, seed: quoting) as server:
        recipe = tmp_path / "judge.yaml"
        retry = {"max_attempts": 1, "first_pause": 0.01, "max_pause": 0.02}
        model = {"name": "openai", "model": "judge", "endpoints": [{"base_url": server.base_url}]}
        recipe.write_text(json.dumps({"model": model, "limits": {"retry": retry}}))
        code, said, _ = cli("analyze", samples, "--judge", recipe, "-o", tmp_path / "out")
        assert code == 0 and "3 responses judged" in said
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())["behaviors"]["sets"][str(samples)]
    assert found["behaviors"]["verification"]["count"] == 3


def judge_recipe(tmp_path: Path, base_url: str, **model: object) -> Path:
    recipe = tmp_path / "judge.yaml"
    retry = {"max_attempts": 1, "first_pause": 0.01, "max_pause": 0.02}
    plain = {"name": "openai", "model": "judge", "endpoints": [{"base_url": base_url, **model}]}
    recipe.write_text(json.dumps({"model": plain, "limits": {"retry": retry}}))
    return recipe


@pytest.mark.parametrize("judge", ["prose", "away", "no key"])
def test_a_judge_that_fails_takes_nothing_else_with_it(judge, cli, groups_file, tmp_path: Path) -> None:
    samples, out = groups_file("one", {f"p{n}": [Said("let me check it")] for n in range(3)}), tmp_path / "out"
    with judge_server(lambda question, seed: "prose") as server:
        here = "http://127.0.0.1:9/v1" if judge == "away" else server.base_url
        recipe = judge_recipe(tmp_path, here, **({"api_key_env": "NO_SUCH_KEY"} if judge == "no key" else {}))
        code, said, failure = cli("analyze", samples, "--judge", recipe, "-o", out)
        words = {"prose": "repeat the command", "away": "repeat the command", "no key": "export NO_SUCH_KEY"}[judge]
        assert code == (2 if judge == "no key" else 1) and words in failure and failure.count("\n") == 1
        assert f"all else is in {out}" in said
        report, page = json.loads((out / "analysis.json").read_text()), (out / "analysis.md").read_text()
        assert "behaviors" not in report and report["judge_failure"] in page and words in page
        assert report["behavior_keywords"]["sets"][str(samples)]["verification"]["all"]["count"] == 3
        assert (out / "lengths.png").exists() and (out / "classes.png").exists()
        server.reply = lambda question, seed: '{"spans": []}'
        code, said, _ = cli("analyze", samples, "--judge", judge_recipe(tmp_path, server.base_url), "-o", out)
        report = json.loads((out / "analysis.json").read_text())
        assert code == 0 and "judge_failure" not in report and "3 responses judged" in said


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('{"spans": null}', "schema"),
        ('{"quotes": []}', "schema"),
        ('{"spans": [{"behavior": "verification", "quote": 7, "reason": ""}]}', "schema"),
        ("", "empty"),
        (None, "no answer within 0.2 s"),
    ],
)
def test_answers_of_a_judge_that_cannot_be_used_are_named_by_kind_in_a_line(said, kind, cli, groups_file, tmp_path) -> None:
    """None never comes: the judge takes longer than it is given."""
    awake = threading.Event()

    def reply(question: str, seed: int) -> str:
        if said is None:
            awake.wait(5)
        return said or ""

    samples, out = groups_file("one", {"p": [Said("let me check it")]}), tmp_path / "out"
    with judge_server(reply) as server:
        recipe = judge_recipe(tmp_path, server.base_url)
        plain = json.loads(recipe.read_text())
        recipe.write_text(json.dumps(plain | {"model": plain["model"] | {"request_timeout": 0.2 if said is None else 30.0}}))
        code, shown, failure = cli("analyze", samples, "--judge", recipe, "-o", out)
        awake.set()
    assert code == 1 and kind in failure and failure.count("\n") == 1 and "Error" not in failure, failure
    assert "All else on this page is whole" in shown and (out / "classes.png").exists()


def test_a_judge_that_quotes_what_is_not_there_is_counted_and_not_believed(cli, groups_file, tmp_path: Path) -> None:
    samples = groups_file("one", {"p": [Said("let me check it")]})
    invented = '{"spans": [{"behavior": "verification", "quote": "no such words", "reason": "r"}]}'
    with judge_server(lambda question, seed: invented) as server:
        code, shown, _ = cli("analyze", samples, "--judge", judge_recipe(tmp_path, server.base_url), "-o", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())["behaviors"]["sets"][str(samples)]
    assert code == 0 and found["behaviors"]["verification"]["count"] == 0 and found["dropped_quotes"] == {"not_in_text": 2}
    assert "Quotes that do not count: 2 not in text." in shown


def test_wrong_input_is_one_line_and_exit_code_2(cli, groups_file, tmp_path: Path) -> None:
    one = groups_file("one", {"a": [Said("x")]})
    two = groups_file("two", {"b": [Said("x")]})
    recipe = tmp_path / "judge.yaml"
    recipe.write_text("model: {model: judge}\n")
    for arguments, words in [
        ((one, two), "'a'"),
        ((tmp_path / "none",), "there is no"),
        ((one, "--classes", tmp_path / "none.yaml"), "none.yaml"),
        ((one, "--judge", recipe), "model.endpoints"),
        ((one, "--moved", tmp_path / "none", tmp_path / "none"), "--moved"),
    ]:
        code, _, said = cli("analyze", *arguments, "-o", tmp_path / "out")
        assert code == 2 and words in said and said.count("\n") == 1, said
