from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from rl_distill.analysis.behaviors import PACKAGED, load_rubric
from rl_distill.errors import InputError


def test_the_rubric_has_the_two_advanced_behaviors_and_the_basic_four() -> None:
    assert load_rubric().ids == [
        "multi_perspective",
        "metacognitive_awareness",
        "verification",
        "backtracking",
        "subgoal_setting",
        "backward_chaining",
    ]


def test_a_question_holds_the_rubric_and_fills_in_nothing_twice() -> None:
    rubric = load_rubric()
    asked = rubric.question("what is {part}?", "the {rubric} text")
    assert "what is {part}?" in asked and "the {rubric} text" in asked
    assert all(behavior.definition in asked and behavior.counter_example in asked for behavior in rubric.behaviors)


def test_the_schema_takes_known_behaviors_only() -> None:
    schema = Draft202012Validator(dict(load_rubric().schema))
    span = {"behavior": "verification", "quote": "q", "reason": "r"}
    assert schema.is_valid({"spans": [span]}) and schema.is_valid({"spans": []})
    assert not schema.is_valid({"spans": [span | {"behavior": "genius"}]})
    assert not schema.is_valid({"spans": [{"behavior": "verification"}]})


def test_keywords_stand_in_for_a_judge() -> None:
    found = [match.label for match in load_rubric().keywords().find("Alternatively, double-check. I might be wrong! await")]
    assert found == ["multi_perspective", "verification", "metacognitive_awareness"]


def test_a_rubric_that_lacks_something_is_refused(tmp_path: Path) -> None:
    tree = yaml.safe_load(PACKAGED.read_text())
    changed = tmp_path / "rubric.yaml"
    for change, said in [
        ({"prompt": "{rubric} {problem}"}, "{part}"),
        ({"behaviors": [tree["behaviors"][0]] * 2}, "twice"),
        ({"behaviors": []}, "behaviors"),
    ]:
        changed.write_text(yaml.safe_dump(tree | change))
        with pytest.raises(InputError, match=said):
            load_rubric(changed)
    assert load_rubric().digest != load_rubric_with(changed, tree | {"version": 2})


def load_rubric_with(path: Path, tree: dict) -> str:
    path.write_text(yaml.safe_dump(tree))
    return load_rubric(path).digest
