import pytest

from rl_distill.errors import InputError
from rl_distill.evaluation.subject import find_subject
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer


def saved(folder, seed=0, template=None):
    tokenizer = arithmetic_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    save_pretrained(Architecture(seed=seed, hidden_size=16, num_layers=1).build(tokenizer), tokenizer, folder)
    return folder


def run(folder, *stages, finished=True):
    for name in stages:
        saved(folder / "stages" / name / "student", seed=len(name))
    if finished:
        saved(folder / "final")
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text("name: r\n")
    return folder


def test_a_run_is_its_final_student_and_a_stage_is_the_student_after_it(tmp_path):
    folder = run(tmp_path / "quick", "sft", "redi")
    assert find_subject(str(folder)).folder == folder / "final"
    found = find_subject(f"{folder}:redi")
    assert (found.folder, found.label) == (folder / "stages" / "redi" / "student", "quick-redi")


def test_a_model_folder_is_itself_and_may_have_a_colon_in_its_name(tmp_path):
    folder = saved(tmp_path / "a:b")
    assert find_subject(str(folder)).folder == folder


def test_a_run_that_is_not_there_yet_says_which_stages_are(tmp_path):
    folder = run(tmp_path / "quick", "sft", finished=False)
    with pytest.raises(InputError, match=r"has not finished; give .*quick:sft"):
        find_subject(str(folder))
    with pytest.raises(InputError, match=r"no finished stage 'redi'; give .*quick:sft"):
        find_subject(f"{folder}:redi")
    with pytest.raises(InputError, match="let the run finish a stage first"):
        find_subject(f"{run(tmp_path / 'new', finished=False)}:sft")


@pytest.mark.parametrize("given", ["./nothing", "a/b/c", "nobody/no-such-model", "two words"])
def test_what_is_no_model_is_refused_in_a_line(given):
    with pytest.raises(InputError, match="MODEL: ") as refusal:
        find_subject(given)
    assert "\n" not in str(refusal.value)


def test_a_model_is_known_by_its_weights_its_vocabulary_and_its_chat_template(tmp_path):
    def identity(folder):
        subject = find_subject(str(folder))
        return subject.identity(subject.tokenizer())

    one = identity(saved(tmp_path / "one"))
    assert identity(saved(tmp_path / "copy")) == one
    other = identity(saved(tmp_path / "other", seed=1))
    assert other["weights"] != one["weights"] and other["vocabulary"] == one["vocabulary"]
    template = arithmetic_tokenizer().chat_template.replace("<|im_end|>\n", "<|im_end|>")
    assert identity(saved(tmp_path / "templated", template=template))["chat_template"] != one["chat_template"]


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = saved(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    subject = find_subject(str(folder))
    with pytest.raises(InputError, match="holds no weights"):
        subject.identity(subject.tokenizer())


def named_base(tmp_path, model):
    """A run whose base student the recipe names, which therefore is not copied into the run."""
    folder = run(tmp_path / "quick", "sft")
    (folder / "recipe.yaml").write_text(f"name: r\nstudent: {{model: {model}}}\n")
    (folder / "stages" / "base").mkdir()
    return folder


def test_the_base_of_a_run_that_names_its_student_is_that_model(tmp_path):
    model = saved(tmp_path / "model")
    found = find_subject(f"{named_base(tmp_path, model)}:base")
    assert (found.folder, found.label) == (model, "quick-base")


@pytest.mark.parametrize(("name", "what"), [("gone", "no folder"), ("nobody/no-such-model", "is in no cache")])
def test_a_base_that_is_no_longer_there_is_named(name, what, tmp_path):
    model = tmp_path / name if name == "gone" else name
    folder = named_base(tmp_path, model)
    with pytest.raises(InputError, match=what) as refusal:
        find_subject(f"{folder}:base")
    assert str(model) in str(refusal.value) and "base" in str(refusal.value) and "recipe.yaml" in str(refusal.value)


def test_a_name_that_is_nothing_says_what_was_tried_and_nothing_of_libraries(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        find_subject("runs/none")
    assert str(refusal.value) == (
        "MODEL: 'runs/none' is no run folder and no model folder here, and as a hub name it is in no cache, "
        "where HF_HUB_OFFLINE=1 alone is looked at; "
        "check the spelling and the folder you are in, or give a run, RUN:STAGE or a folder in Hugging Face format"
    )
    with pytest.raises(InputError, match=r"'runs/none:sft' .*no run folder 'runs/none'"):
        find_subject("runs/none:sft")
