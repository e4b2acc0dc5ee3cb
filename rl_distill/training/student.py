"""The student as a run finds it: a model from a folder or the hub, perhaps with another context, or a small one built here."""

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Discriminator, Tag

from rl_distill.config import config, dump, one_of, setting
from rl_distill.errors import InputError
from rl_distill.models.loading import Architecture, context_of, load_settings, load_tokenizer, skeleton
from rl_distill.models.lora import Lora
from rl_distill.models.pretrained import PretrainedModel
from rl_distill.models.token_match import check_rows
from rl_distill.models.vocabulary import arithmetic_tokenizer, byte_bpe_tokenizer
from rl_distill.problems import AnyProblemSet
from rl_distill.problems.base import data_digests
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.training.source_files import code_digests
from rl_distill.training.stages import Training


@config
class ArithmeticTokenizer:
    """One token for each number and sign of the embedded micro-world."""

    name: Literal["arithmetic"] = "arithmetic"

    def build(self) -> Any:
        return arithmetic_tokenizer()


@config
class ByteBpeTokenizer:
    """Byte-level BPE trained on the problems and attempts of a set."""

    name: Literal["byte_bpe"] = "byte_bpe"
    vocab_size: int = setting(2048, about="number of tokens, special ones included", ge=300)
    texts: AnyProblemSet = setting(about="problems and attempts whose text it is trained on")

    def build(self) -> Any:
        groups = self.texts.groups()
        turns = (turn.content for group in groups for attempt in group.trajectories for turn in attempt.messages)
        return byte_bpe_tokenizer((*turns, *(group.problem.prompt for group in groups)), self.vocab_size)


PACKAGE = Path(__file__).resolve().parents[1]
MADE_BY = (  # the files that decide what a student pretrained on a data set becomes
    *("text.py", "batch.py", "seeding.py", "problems/*.py", "models/*.py", "learning/*.py"),
    *(f"algorithms/{name}.py" for name in ("sft", "redi", "simpo", "pairs", "reductions", "selection")),
    *(f"training/{name}.py" for name in ("loop", "cursor", "dataset_source", "tokenized")),
)
TOKENIZERS: dict[str, type] = {"arithmetic": ArithmeticTokenizer, "byte_bpe": ByteBpeTokenizer}
if TYPE_CHECKING:
    AnyTokenizer = ArithmeticTokenizer | ByteBpeTokenizer
else:
    AnyTokenizer = one_of(TOKENIZERS)


@config
class SeededModel(Architecture):
    """A small model built from a seed; with `pretraining` it is trained once and cached by a hash of all that made it."""

    tokenizer: AnyTokenizer = setting(about="how text becomes tokens")
    pretraining: Training | None = setting(None, about="makes the base student from the initial weights; none starts from those")

    def __post_init__(self) -> None:
        Architecture.__post_init__(self)
        if self.pretraining is not None and any(objective.algorithm.needs for objective in self.pretraining.objectives):
            raise ValueError("pretraining.algorithm needs rollouts, a reference or a teacher: pretrain on a data set, with sft")


def kind_of_model(value: Any) -> str:
    """The class of a `student.model`: a name is a str, a mapping with a `path` a PretrainedModel, any other a SeededModel."""
    if isinstance(value, Mapping):
        return "PretrainedModel" if "path" in value else "SeededModel"
    return type(value).__name__ if isinstance(value, PretrainedModel | SeededModel) else "str"


if TYPE_CHECKING:
    AnyModel = str | PretrainedModel | SeededModel
else:
    AnyModel = Annotated[
        Annotated[str, Tag("str")]
        | Annotated[PretrainedModel, Tag("PretrainedModel")]
        | Annotated[SeededModel, Tag("SeededModel")],
        Discriminator(kind_of_model),
    ]


@config
class Student:
    """The model that a run teaches."""

    model: AnyModel = setting(
        about="folder or hub name of a causal language model, the keys of one whose context is changed, or of one to build here"
    )
    prompt: PromptFormat = setting(PromptFormat(), about="how problems are put to it")
    lora: Lora | None = setting(
        None,
        about="stages train low-rank adapters on frozen weights, a pretraining the weights themselves; none trains all weights",
    )


def prompter(student: Student, saved: Path | None = None) -> Prompter:
    """How problems are put to the student: its tokenizer, its prompt format, its context.

    Args:
        saved: folder of the base student, once there is one: its tokenizer is the one its weights belong to.

    Raises:
        InputError: the student cannot be what the recipe says, its adapters included.
    """
    model = student.model
    kept = saved is not None and saved.is_dir()
    if not isinstance(model, SeededModel):
        path, settings = (model, load_settings(model)) if isinstance(model, str) else (model.path, model.settings())
        tokenizer = load_tokenizer(str(saved) if kept and not isinstance(model, str) else path)
        check_rows(tokenizer, settings, field="student.model")
        if student.lora is not None:
            student.lora.check(skeleton(settings))
        return Prompter(tokenizer=tokenizer, format=student.prompt, max_context=context_of(settings))
    tokenizer = load_tokenizer(str(saved)) if kept else model.tokenizer.build()
    if student.lora is not None:
        with torch.device("meta"):
            student.lora.check(model.build(tokenizer))
    return Prompter(tokenizer=tokenizer, format=student.prompt, max_context=model.max_context)


def cache_folder(student: Student) -> Path:
    """Where the pretrained student lies or will lie: under a hash of its recipe, its data and what computes it."""
    made_by = {
        "rl_distill": code_digest(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "tokenizers": version("tokenizers"),
    }
    kept = {key: value for key, value in dump(student).items() if key != "lora"}  # adapters come after the pretraining
    recipe = {"student": kept, "data": data_digests(student.model, "model"), **made_by, **code_digests(kept)}
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:20]
    root = Path(os.environ.get("RL_DISTILL_CACHE") or Path.home() / ".cache" / "rl_distill")
    try:
        (root / "students").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "RL_DISTILL_CACHE", f"{str(root)!r} cannot be written ({error.strerror})", "name a folder you may write to"
        ) from None
    return root / "students" / key


def code_digest() -> str:
    """Digest of the source files that a pretrained student is a function of."""
    digest = hashlib.sha256()
    for pattern in MADE_BY:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(f"{path.relative_to(PACKAGE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
