import json
from pathlib import Path

import pytest
from recorded_answers import Said

from rl_distill.analysis.list_language import KNOWN_SHARE, language_notes, language_report
from rl_distill.analysis.samples import read_samples
from rl_distill.analysis.token_classes import load_classes
from rl_distill.problems.arithmetic import Arithmetic

ENGLISH = [
    "Wait, let me check this: 17 + 25 = 42, so the answer that we need is \\boxed{42}.",
    r"We have $x^2 + 3x = \frac{1}{2}$. If $x > 0$ then $x = 1$; therefore the sum of the roots is $-3$.",
]
OTHERS = [
    "Zuerst addieren wir die beiden Zahlen und erhalten 42. Dann teilen wir durch zwei; die Antwort ist 21.",
    "Premi\u00e8rement, on additionne les deux nombres et on obtient 42, puis on divise par deux, donc la r\u00e9ponse est 21.",
    "Primero sumamos los dos n\u00fameros y obtenemos 42; despu\u00e9s dividimos entre dos, as\u00ed que la respuesta es 21.",
    "\u6211\u4eec\u7b49\u7b49\uff0c\u8ba9\u6211\u68c0\u67e5\u4e00\u4e0b\u3002\u7b54\u6848\u662f 42\u3002",
    "\u041f\u043e\u0434\u043e\u0436\u0434\u0438, \u043f\u0440\u043e\u0432\u0435\u0440\u044e: \u043e\u0442\u0432\u0435\u0442 42. "
    * 4,
]


def share(groups_file, *texts: str) -> float | None:
    samples = read_samples(str(groups_file("said", {"a": [Said(text) for text in texts]})))
    lists = load_classes()
    report = language_report([samples], lists.language, lists.matcher())
    assert report is not None
    (found,) = report["sets"].values()
    assert len(language_notes(report)) == (found["share"] is not None and found["share"] < KNOWN_SHARE)
    return found["share"]


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_known_among_formulas_too(text: str, groups_file) -> None:
    assert share(groups_file, text) > 2 * KNOWN_SHARE


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_and_scripts_are_not(text: str, groups_file) -> None:
    assert share(groups_file, text) < KNOWN_SHARE


def test_numbers_alone_are_in_no_language_and_half_english_is_enough(groups_file) -> None:
    assert share(groups_file, "17 + 25 = 42", "x = y", r"\frac{1}{2}", "", "Rest 42", "also gut") is None
    assert share(groups_file, ENGLISH[0], OTHERS[0]) > KNOWN_SHARE


def test_the_embedded_worlds_formulas_are_in_no_language(groups_file) -> None:
    groups = Arithmetic(attempts="teacher", num_problems=8).groups()
    assert share(groups_file, *(one.response for group in groups for one in group.trajectories)) is None


def test_the_report_and_the_page_say_it_and_lists_without_a_language_do_not(cli, groups_file, tmp_path: Path) -> None:
    samples, mine = groups_file("german", {"a": [Said(OTHERS[0])]}), tmp_path / "mine.yaml"
    mine.write_text("version: 1\nclasses: {doubt: [zuerst]}\n")
    code, said, _ = cli("analyze", samples, "-o", tmp_path / "out")
    assert code == 0 and said.count("the lists are English, and 0% of its") == 1
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())["token_classes"]["language"]
    assert found["name"] == "English" and found["sets"][str(samples)]["share"] < KNOWN_SHARE
    code, said, _ = cli("analyze", samples, "--classes", mine, "-o", tmp_path / "own")
    assert code == 0 and "the lists are" not in said
    assert json.loads((tmp_path / "own" / "analysis.json").read_text())["token_classes"]["language"] is None
