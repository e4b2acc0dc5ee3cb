"""Whom an evaluation is about: a model's folder, one on the hub, or a student of a run."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.models.digest import weights_digest
from rl_distill.models.loading import load_settings, load_tokenizer
from rl_distill.models.token_match import vocabulary_digest

FIELD = "MODEL"
_RUN, _FINAL, _STUDENT = "recipe.yaml", "final", "student"
_DOWNLOADED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """
    given   what the user called it
    label   for tables and for the name of a folder
    folder  in Hugging Face format
    """

    given: str
    label: str
    folder: Path

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
        return Subject(given=given, label=folder.resolve().name, folder=student)
    if folder.is_dir():
        return Subject(given=given, label="-".join(folder.resolve().parts[-2:]).strip("/"), folder=folder)
    if split := run_and_stage(given):
        run, stage = split
        return Subject(
            given=given, label=f"{run.resolve().name}-{stage}", folder=stage_folder(run, stage, field=field) / _STUDENT
        )
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


def _stages(run: Path) -> str:
    """What to do about a student that is not there."""
    names = sorted(path.name for path in run.glob("stages/[!.]*") if path.is_dir())
    return f"give {' or '.join(f'{run}:{name}' for name in names)}" if names else "let the run finish a stage first"


def _from_hub(name: str, field: str) -> Path:
    """Downloaded, or from the cache."""
    if name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise InputError(field, f"there is no folder {name!r}", "give a folder in Hugging Face format, a run or a hub name")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_DOWNLOADED)))
    # The hub client raises errors of a dozen unrelated classes (network, HTTP, cache): all mean that there is no such model here.
    except Exception as error:
        reason = f"{name!r} is no folder, and the hub gives no such model ({type(error).__name__}: {str(error)[:120]})"
        remedy = "check the spelling and the network, or give a folder in Hugging Face format"
        raise InputError(field, reason, remedy) from error
