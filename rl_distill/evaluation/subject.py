"""Whom an evaluation is about: a model's folder, one on the hub, or a student of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rl_distill.config import read_yaml
from rl_distill.errors import InputError
from rl_distill.models.digest import weights_digest
from rl_distill.models.loading import load_settings, load_tokenizer
from rl_distill.models.token_match import vocabulary_digest

FIELD = "MODEL"
_RUN, _BASE, _FINAL, _STUDENT = "recipe.yaml", "base", "final", "student"
_DOWNLOADED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """
    given   what the user called it
    label   for tables and for the name of a folder
    folder  in Hugging Face format
    run     that it is a student of, wherever its folder lies; None of other models
    """

    given: str
    label: str
    folder: Path
    run: Path | None = None

    def tokenizer(self) -> Any:
        return load_tokenizer(str(self.folder), field=FIELD)

    def settings(self) -> Any:
        """Its transformers configuration."""
        return load_settings(str(self.folder), field=FIELD)

    def identity(self, tokenizer: Any) -> dict[str, str]:
        """What makes it this model and no other, wherever its folder lies."""
        return {
            "weights": weights_digest(self.folder),
            "vocabulary": vocabulary_digest(tokenizer),
            "chat_template": sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16],
        }


def find_subject(given: str, *, field: str = FIELD) -> Subject:
    """A folder in Hugging Face format, a hub name, `RUN` (its final student) or `RUN:STAGE` (the student after a stage).

    Args:
        field: what an error calls the input.

    Raises:
        InputError: there is no such model, or the run has not got so far.
    """
    folder = Path(given).expanduser()
    if is_run(folder):
        student = folder / _FINAL
        if not student.is_dir():
            raise InputError(field, f"the run {given!r} has not finished", _stages(folder))
        return Subject(given=given, label=folder.resolve().name, folder=student, run=folder)
    if folder.is_dir():
        return Subject(given=given, label="-".join(folder.resolve().parts[-2:]).strip("/"), folder=folder)
    if split := run_and_stage(given):
        run, stage = split
        return Subject(given=given, label=f"{run.resolve().name}-{stage}", folder=_student_of(run, stage, field), run=run)
    return Subject(given=given, label=given.replace("/", "-"), folder=_from_hub(given, field))


def is_run(folder: Path) -> bool:
    return (folder / _RUN).is_file()


def run_and_stage(given: str) -> tuple[Path, str] | None:
    """The parts of `RUN:STAGE`; None where what stands before the colon is no run."""
    run, colon, stage = given.rpartition(":")
    folder = Path(run).expanduser()
    return (folder, stage) if colon and is_run(folder) else None


def stage_folder(run: Path, stage: str, *, field: str = FIELD) -> Path:
    """
    Raises:
        InputError: the stage does not exist or has not finished.
    """
    folder = run / "stages" / stage
    if not stage or not folder.is_dir():
        raise InputError(field, f"the run {str(run)!r} has no finished stage {stage!r}", _stages(run))
    return folder


def named_base(run: Path) -> str | None:
    """The folder or hub name of the base student, where the recipe of the run names one: no copy of it lies in the run.

    Raises:
        InputError: the recipe cannot be read.
    """
    student = read_yaml(run / _RUN).get("student")
    model = student.get("model") if isinstance(student, Mapping) else None
    return model if isinstance(model, str) else None


def _student_of(run: Path, stage: str, field: str) -> Path:
    """The student as it left a stage; a base that the recipe names is still where the recipe found it."""
    student = stage_folder(run, stage, field=field) / _STUDENT
    model = None if student.is_dir() or stage != _BASE else named_base(run)
    if model is None or (folder := Path(model).expanduser()).is_dir():
        return student if model is None else folder
    try:
        return _from_hub(model, field)
    except InputError as error:
        problem = f"the base student of {str(run)!r} is the model that {run / _RUN} names, and {error.problem}"
        raise InputError(field, problem, f"put {model!r} back where it was, or give where it is now") from None


def _stages(run: Path) -> str:
    """What to do about a student that is not there."""
    names = sorted(path.name for path in run.glob("stages/[!.]*") if path.is_dir())
    return f"give {' or '.join(f'{run}:{name}' for name in names)}" if names else "let the run finish a stage first"


def _from_hub(name: str, field: str) -> Path:
    """Downloaded, or from the cache."""
    remedy = "check the spelling and the folder you are in, or give a run, RUN:STAGE or a folder in Hugging Face format"
    if name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise InputError(field, f"there is no folder {name!r}", remedy)
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import is_offline_mode

    try:
        return Path(snapshot_download(name, allow_patterns=list(_DOWNLOADED)))
    # The hub client raises errors of a dozen unrelated classes (network, HTTP, cache): all mean that there is no such model here.
    except Exception as error:
        run, colon, _ = name.rpartition(":")
        tried = f"{name!r} is no run folder and no model folder here"
        if colon:
            raise InputError(field, f"{tried}, and there is no run folder {run!r} for a stage", remedy) from error
        place = "it is in no cache, where HF_HUB_OFFLINE=1 alone is looked at" if is_offline_mode() else _refusal(error)
        raise InputError(field, f"{tried}, and as a hub name {place}", remedy) from error


def _refusal(error: Exception) -> str:
    """What the hub has said, in words of ours: its client's own go over many lines."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403, 404):
        return f"the hub has no such model that you may read (status {status})"
    if status is None:
        return f"it is in no cache, and the hub cannot be asked ({type(error).__name__})"
    return f"the hub fails (status {status})"
