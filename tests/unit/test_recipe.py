import pytest
from tiny_runs import rolled_out, taught, tiny_student

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe


def recipe(*stages, **changes):
    return parse(Recipe, {"name": "r", "student": tiny_student(), "stages": list(stages), **changes})


TREE = recipe(
    taught("sft"),
    taught("redi"),
    taught("dpo", start="sft"),
    {**taught("simpo"), "start": "base"},
    {**taught("sft"), "name": "last"},
)


def test_a_stage_goes_on_from_the_one_before_or_from_its_start():
    assert [TREE.start_of(stage) for stage in TREE.stages] == ["base", "sft", "sft", "base", "simpo"]


def test_the_lineage_of_a_stage_is_all_that_made_its_student():
    assert {stage.name: TREE.lineage(stage.name) for stage in TREE.stages} == {
        "sft": ("sft",),
        "redi": ("sft", "redi"),
        "dpo": ("sft", "dpo"),
        "simpo": ("simpo",),
        "last": ("simpo", "last"),
    }
    assert TREE.lineage("base") == ()


def test_stages_that_differ_in_nothing_but_their_names_have_starts_of_their_own():
    twins = recipe(taught("sft", start="base"), taught("sft") | {"name": "again", "start": "base"}, taught("redi"))
    assert [twins.start_of(stage) for stage in twins.stages] == ["base", "base", "again"]


@pytest.mark.parametrize("start", ["redi", "later", "sft2"])
def test_a_start_that_is_no_earlier_stage_is_refused(start):
    with pytest.raises(InputError, match=rf"stages.redi.start: '{start}' is no earlier stage; choose one of base, sft"):
        recipe(taught("sft"), taught("redi", start=start), {**taught("sft"), "name": "later"})


def test_two_stages_of_one_name_are_refused():
    with pytest.raises(InputError, match="stages: two are named 'sft'"):
        recipe(taught("sft"), taught("sft"))


def test_the_run_folder_is_named_by_the_recipe_or_given():
    assert str(TREE.folder) == "runs/r"
    assert str(recipe(taught(), run_dir="/tmp/x").folder) == "/tmp/x"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "-x"])
def test_a_name_that_would_lead_out_of_the_runs_is_refused(name):
    with pytest.raises(InputError, match="name: is .*; give a text of the form"):
        recipe(taught(), name=name)


def test_an_engine_without_a_name_is_the_one_that_needs_nothing():
    assert recipe(taught(), engine={"shard_size": 3}).engine.name == "hf"
    assert recipe(taught(), engine={"name": "vllm", "shard_size": 3}, cluster={"name": "ray"}).engine.name == "vllm"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"engine": {"device": "cpu"}}, "engine.device: has no effect on a cluster"),
        ({"stages": [taught(learner={"device": "cpu"})]}, "stages.sft.learner.device: has no effect on a cluster"),
    ],
)
def test_devices_of_a_cluster_are_the_clusters_business(changes, named):
    stages = changes.pop("stages", [taught()])
    with pytest.raises(InputError, match=named):
        recipe(*stages, **changes, cluster={"name": "ray"})


@pytest.mark.parametrize(
    ("places", "named"),
    [
        ({"zero_stage": 4}, "cluster.learner.zero_stage"),
        ({"zero_stage": 0, "offload": "optimizer"}, "cluster.learner.offload: optimizer needs zero_stage 1, 2 or 3"),
        ({"zero_stage": 2, "offload": "parameters"}, "cluster.learner.offload: parameters needs zero_stage 3"),
        ({"ranks": 0}, "cluster.learner.ranks"),
    ],
)
def test_a_learner_that_cannot_be_sharded_so_is_refused(places, named):
    with pytest.raises(InputError, match=named):
        recipe(taught(), cluster={"name": "ray", "learner": places})


def test_a_run_has_the_roles_that_its_stages_and_its_evaluation_need():
    evaluation = {"problems": {"name": "arithmetic"}}
    assert recipe(taught()).roles == {"learner"}
    assert recipe(taught(), evaluation=evaluation).roles == {"learner", "engine"}
    assert recipe(taught("dpo")).roles == {"learner", "scorer"}


def distilled(name: str, **changes):
    """A stage of a distillation algorithm on what the student samples."""
    return rolled_out(name, **{"algorithm": {"name": name}, **changes})


def test_a_stage_that_learns_from_a_teacher_needs_one():
    with pytest.raises(InputError, match="stages.kd.algorithm: learns from a teacher, and there is none"):
        recipe(taught("kd"))


def test_a_teacher_that_nothing_learns_from_is_refused():
    with pytest.raises(InputError, match="teacher: has no effect, for no stage's algorithm learns from one"):
        recipe(taught("sft"), teacher="some/model")


@pytest.mark.parametrize("teacher", ["base", "sft", "some/model"])
def test_a_teacher_is_a_model_or_a_student_that_is_finished_by_then(teacher):
    assert recipe(taught("sft"), taught("kd"), teacher=teacher).roles == {"learner", "scorer"}


@pytest.mark.parametrize("teacher", ["kd", "later"])
def test_a_teacher_that_is_no_earlier_stage_is_refused(teacher):
    with pytest.raises(InputError, match=f"teacher: stage '{teacher}' does not come before stages.kd"):
        recipe(taught("kd"), {**taught("sft"), "name": "later"}, teacher=teacher)


@pytest.mark.parametrize("name", ["gkd", "opd"])
def test_on_policy_distillation_samples_from_the_student(name):
    assert recipe(distilled(name), teacher="base").roles == {"learner", "engine", "scorer"}
    with pytest.raises(InputError, match=f"algorithm: '{name}' trains on what the student samples"):
        recipe(taught(name), teacher="base")


def test_draws_go_with_forward_kl_alone():
    with pytest.raises(InputError, match="beta: 0.5 needs support top_k; tokens drawn from the teacher estimate forward KL"):
        recipe(taught("kd", algorithm={"name": "kd", "support": "drawn", "beta": 0.5}), teacher="base")


def test_a_recorded_teacher_takes_no_scorer():
    assert recipe(taught("kd"), teacher="recorded").roles == {"learner"}
    assert recipe(taught("dpo"), taught("kd"), teacher="recorded").roles == {"learner", "scorer"}


@pytest.mark.parametrize("name", ["gkd", "opd"])
def test_nobody_recorded_what_the_student_will_sample(name):
    with pytest.raises(InputError, match=f"teacher: nobody recorded .* {name} of stages.{name} learns from; name a model"):
        recipe(distilled(name), teacher="recorded")


def test_recorded_are_no_draws():
    with pytest.raises(InputError, match="stages.kd.algorithm.support asks for; set it to top_k, or name a model"):
        recipe(taught("kd", algorithm={"name": "kd", "support": "drawn"}), teacher="recorded")


def test_a_stage_is_not_called_as_a_recorded_teacher_is():
    with pytest.raises(InputError, match="stages: one is named 'recorded'"):
        recipe({**taught("sft"), "name": "recorded"})
