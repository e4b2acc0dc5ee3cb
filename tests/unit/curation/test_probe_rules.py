"""The file of rules: ten of them come with the package, a changed copy is checked, and what is filled in is left alone."""

from pathlib import Path

import pytest
import yaml

from rl_distill.curation.probe_rules import PACKAGED, load_rules
from rl_distill.errors import InputError


def changed(folder: Path, **changes: object) -> str:
    """A copy of the package's rules with other keys."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(PACKAGED.read_text()) | changes))
    return str(path)


def test_the_package_has_ten_rules_of_both_kinds_and_each_says_what_it_wants() -> None:
    rules = load_rules(None).rules
    assert len(rules) == len({rule.id for rule in rules}) == len({rule.prompt for rule in rules}) == 10
    assert {rule.answer_kind for rule in rules} == {"closed", "open"}


def test_each_prompt_holds_question_answer_solution_and_the_rules_own_words() -> None:
    rules = load_rules(None)
    for rule in rules.rules:
        text = rules.prompt(rule, question="QQ?", answer="AA", solution="SS.")
        assert all(part in text for part in ("QQ?", "AA", "SS.", rule.prompt, rules.forms[rule.answer_kind], "<probe>"))
        assert "{" not in text


def test_what_is_filled_in_is_not_searched_for_slots() -> None:
    rules = load_rules(None)
    text = rules.prompt(rules.rules[0], question="\\frac{1}{2} {answer} {solution}?", answer="AA", solution="SS")
    assert "\\frac{1}{2} {answer} {solution}?" in text


def test_chosen_rules_keep_the_order_of_the_file() -> None:
    assert [rule.id for rule in load_rules(None).only(["rv", "cf"]).rules] == ["cf", "rv"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": "Write about {question}, {answer}, {task}, {form}."}, "frame: does not hold {solution}"),
        ({"forms": {"closed": "short"}}, "forms: do not say what a probe of kind 'open' looks like"),
        ({"rules": []}, "rules: is []"),
        ({"rules": [{"id": "a b", "family": "f", "asks": "a", "answer_kind": "closed", "prompt": "p"}]}, "'a b'"),
        ({"rules": [{"id": "a", "family": "f", "asks": "a", "answer_kind": "shut", "prompt": "p"}]}, "'shut'"),
        ({"author": "me"}, "author: is not a known key"),
    ],
)
def test_a_file_that_is_no_set_of_rules_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        load_rules(changed(tmp_path, **changes))
    assert message in str(refusal.value)
