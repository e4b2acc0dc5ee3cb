import dataclasses
import json
import math
import re
from typing import Literal

import pytest
import yaml
from tiny_runs import rolled_out, taught, tiny_student

from rl_distill.algorithms import ALGORITHMS
from rl_distill.config import config, dump, json_schema, keys, one_of, parse, read_yaml, setting
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe


@config
class Circle:
    """A round thing."""

    name: Literal["circle"] = "circle"
    radius: float = setting(1.0, about="half the width", unit="m", source="Euclid", gt=0)


@config
class Square:
    """A thing with corners."""

    name: Literal["square"] = "square"
    side: float = setting(1.0, about="width", gt=0)


@config
class Drawing:
    title: str = setting(about="what is written below")
    shapes: tuple[one_of({"circle": Circle, "square": Square}), ...] = setting((), about="what is drawn")
    frame: Square | None = setting(None, about="around it")
    copies: int = setting(1, about="how many", ge=1)

    def __post_init__(self) -> None:
        if self.frame is not None and not self.shapes:
            raise ValueError("frame has nothing to go around: draw a shape, or drop frame")


def tree(path, text, *overrides):
    path.write_text(text)
    return read_yaml(path, overrides)


@pytest.fixture
def drawing(tmp_path):
    def read(*overrides: str) -> Drawing:
        text = "title: a\nshapes:\n  - {name: circle, radius: 1e-6}\n  - {name: square}\n"
        return parse(Drawing, tree(tmp_path / "drawing.yaml", text, *overrides))

    return read


RECIPE = {
    "name": "tiny",
    "student": tiny_student(),
    "stages": [taught(), rolled_out(), taught("redi", start="sft")],
    "evaluation": {"problems": {"name": "arithmetic", "split": "heldout", "num_problems": 4}},
}


def test_a_dumped_recipe_parses_to_an_equal_one():
    recipe = parse(Recipe, RECIPE)
    assert parse(Recipe, dump(recipe)) == recipe
    assert parse(Recipe, yaml.safe_load(yaml.safe_dump(dump(recipe)))) == recipe
    assert hash(recipe) == hash(parse(Recipe, RECIPE))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_survives_dump_and_parse(name):
    algorithm = ALGORITHMS[name]()
    assert parse(ALGORITHMS[name], dump(algorithm)) == algorithm


def test_every_key_of_a_recipe_is_listed_once_with_what_it_means():
    listed = list(keys(Recipe))
    assert all(entry["about"] and entry["type"] and entry["default"] for entry in listed)
    names = [entry["key"] for entry in listed]
    assert len(names) == len(set(names))
    assert {
        "seed",
        "stages.algorithm[redi].negative_coef",
        "stages.source[rollout].sampling.top_p",
        "evaluation.num_samples",
    } <= set(names)


def test_every_key_that_a_dumped_recipe_holds_is_listed():
    def paths(node, prefix=""):
        for key, value in node.items():
            yield f"{prefix}{key}"
            for member in value if isinstance(value, list) else [value]:
                if isinstance(member, dict):
                    yield from paths(member, f"{prefix}{key}.")

    listed = {re.sub(r"\[\w+\]", "", entry["key"]) for entry in keys(Recipe)}
    assert set(paths(dump(parse(Recipe, RECIPE)))) <= listed


def test_a_key_shows_default_unit_and_source():
    radius = next(entry for entry in keys(Drawing) if entry["key"] == "shapes[circle].radius")
    assert radius == {
        "key": "shapes[circle].radius",
        "type": "float",
        "default": "1.0",
        "unit": "m",
        "about": "half the width",
        "source": "Euclid",
    }
    assert next(entry for entry in keys(Drawing) if entry["key"] == "title")["default"] == "required"
    assert next(entry for entry in keys(Drawing) if entry["key"] == "shapes[square].name")["about"] == "A thing with corners."


def test_the_json_schema_is_closed_describes_every_key_and_refers_to_what_it_defines():
    schema = json.loads(json.dumps(json_schema(Recipe), allow_nan=False))
    objects = [schema, *schema["$defs"].values()]
    assert all(found["additionalProperties"] is False for found in objects if found["type"] == "object" and "properties" in found)
    described = [(key, value) for found in objects for key, value in found.get("properties", {}).items() if key != "name"]
    assert [key for key, value in described if not value.get("description")] == []
    assert set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema))) == set(schema["$defs"])
    assert {"name", "student", "stages"} == set(schema["required"])


def test_numbers_in_a_file_and_in_an_override_are_numbers(drawing):
    assert drawing().shapes[0].radius == 1e-6
    assert drawing("shapes.circle.radius=2e-7").shapes[0].radius == 2e-7
    assert drawing("shapes.circle.radius=3").shapes[0].radius == 3.0


def test_members_of_a_list_are_reached_by_place_and_by_name(drawing):
    assert drawing("shapes.square.side=5") == drawing("shapes.1.side=5") != drawing()


def test_an_override_replaces_a_whole_value_of_any_kind(drawing):
    assert drawing("shapes.circle={name: square, side: 2}").shapes[0] == Square(side=2)
    assert drawing("shapes=[{name: circle}]").shapes == (Circle(),)
    assert drawing("frame={side: 3}").frame == Square(side=3)
    assert drawing("frame={side: 3}", "frame=null").frame is None
    assert drawing("title=a=b").title == "a=b"
    assert drawing("title='7'").title == "7"


def test_later_overrides_see_earlier_ones(drawing):
    assert drawing("shapes.circle.name=square", "shapes.0={name: circle}", "shapes.circle.radius=4").shapes[0] == Circle(radius=4)


def test_a_value_may_refer_to_another(tmp_path):
    found = tree(tmp_path / "a.yaml", "title: x\ncopies: 3\nshapes: [{name: circle, radius: '${copies}'}]\n", "copies=4")
    assert parse(Drawing, found).shapes[0].radius == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["shapes.circle.radus=1"], "shapes.circle.radus: is not a known key; did you mean 'radius'?"),
        (["shapes.circle.radius=0"], "shapes.circle.radius: is 0; give a number above 0"),
        (["shapes.triangle.side=1"], "shapes.triangle.side: no member is named 'triangle'; choose one of circle, square"),
        (["shapes.circle.name=cirkle"], "shapes.cirkle.name: is 'cirkle'; did you mean 'circle'? choose one of circle, square"),
        (["shapes={name: circle}"], "shapes: is a mapping of keys; give a list"),
        (["copies=2.0"], "copies: is 2.0; give a whole number"),
        (["copies=.nan"], "copies: is NaN; give a whole number"),
        (["title=null"], "title: is null; give a text (in quotes where YAML would read a number)"),
        (["title=7"], "title: is 7; give a text (in quotes where YAML would read a number)"),
        (["shapes=[]", "frame={}"], "frame: has nothing to go around; draw a shape, or drop frame"),
        (["title.x=1"], "title: is a mapping of keys; give a text (in quotes where YAML would read a number)"),
        (["title"], "override: 'title' is not of the form key=value; write for example learner.learning_rate=1e-6"),
    ],
)
def test_a_refused_value_is_named_by_its_path(overrides, message, drawing):
    with pytest.raises(InputError) as refused:
        drawing(*overrides)
    assert str(refused.value) == message


def test_members_of_the_same_name_are_told_apart_by_their_place(drawing):
    with pytest.raises(InputError, match=r"shapes\.1\.radus: is not a known key"):
        drawing("shapes=[{name: circle}, {name: circle, radus: 1}]")


def test_floats_must_be_finite():
    for value in (math.inf, math.nan):
        with pytest.raises(InputError, match="give a finite number|give a number above 0"):
            parse(Circle, {"radius": value})


def test_config_values_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Circle().radius = 2


@pytest.mark.parametrize("place", ["text", "override"])
def test_a_recipe_follows_the_environment_that_it_names(tmp_path, monkeypatch, place) -> None:
    title = "${oc.env:DRAWN_TITLE}"
    text, overrides = (f"title: {title}\n", ()) if place == "text" else ("title: a\n", (f"title={title}",))
    for value in ("first", "second"):
        monkeypatch.setenv("DRAWN_TITLE", value)
        assert tree(tmp_path / "drawing.yaml", text, *overrides)["title"] == value


def test_what_a_caller_does_to_a_tree_is_not_seen_by_the_next(tmp_path) -> None:
    first = tree(tmp_path / "drawing.yaml", "title: a\nshapes: [{name: circle}]\n")
    first["shapes"].clear()
    assert read_yaml(tmp_path / "drawing.yaml")["shapes"] == [{"name": "circle"}]
