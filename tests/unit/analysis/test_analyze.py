import json
from pathlib import Path

import pytest
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


def test_the_same_set_twice_is_refused(groups_file, tmp_path: Path) -> None:
    path = str(groups_file("one", {"a": [Said("x")]}))
    with pytest.raises(InputError, match="once more"):
        analyze([path, path], tmp_path)
