"""The table of teachers, and how each is made from its recipe."""

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from rl_distill.config import config, dump, one_of, setting
from rl_distill.curation.engine_teacher import EngineTeacher
from rl_distill.curation.failures import RetryPolicy
from rl_distill.curation.fingerprint import canonical_json
from rl_distill.curation.openai_teacher import OpenAiTeacher, OpenAiTeacherConfig
from rl_distill.curation.procedural_teacher import ProceduralTeacher
from rl_distill.curation.teacher import Teacher
from rl_distill.rollout.engine import Engine
from rl_distill.rollout.engines import AnyEngine
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig


@config
class EngineTeacherConfig:
    """A model in this process."""

    name: Literal["engine"] = "engine"
    model: str = setting(about="folder or hub name")
    engine: AnyEngine = setting(HfEngineConfig(), about="what samples from it")


@config
class ProceduralTeacherConfig:
    """The micro-world's own teacher; it answers only what `arithmetic` asks."""

    name: Literal["procedural"] = "procedural"


TEACHERS: dict[str, type] = {
    "openai": OpenAiTeacherConfig,
    "engine": EngineTeacherConfig,
    "procedural": ProceduralTeacherConfig,
}
if TYPE_CHECKING:
    AnyTeacher = OpenAiTeacherConfig | EngineTeacherConfig | ProceduralTeacherConfig
else:
    AnyTeacher = one_of(TEACHERS)


def teacher_name(teacher: AnyTeacher) -> str:
    """What people call it."""
    return teacher.name if isinstance(teacher, ProceduralTeacherConfig) else teacher.model


def answers_depend_on(teacher: AnyTeacher) -> dict[str, Any]:
    """Its settings without addresses and patience, which change by whom and when it is answered, not what."""
    return {key: value for key, value in dump(teacher).items() if key not in ("endpoints", "request_timeout")}


def build_teacher(teacher: AnyTeacher, retry: RetryPolicy) -> Teacher:
    """
    Raises:
        InputError: an address, a key's variable or a model is missing.
    """
    if isinstance(teacher, OpenAiTeacherConfig):
        return OpenAiTeacher(teacher, retry)
    if isinstance(teacher, ProceduralTeacherConfig):
        return ProceduralTeacher()
    return _engine_teacher(teacher)


def _engine_teacher(teacher: EngineTeacherConfig) -> EngineTeacher:
    from rl_distill.models.digest import named_weights, weight_digests
    from rl_distill.models.loading import load_model, load_tokenizer

    tokenizer = load_tokenizer(teacher.model)
    model = load_model(teacher.model, field="teacher.model")
    revision = sha256(canonical_json(weight_digests(named_weights(model))).encode()).hexdigest()
    engine: Engine
    if isinstance(teacher.engine, HfEngineConfig):
        engine = HfEngine(model, tokenizer, teacher.engine, name="teacher")
    else:
        from rl_distill.rollout.vllm_engine import VllmEngine

        engine = VllmEngine(teacher.model, tokenizer, teacher.engine, name="teacher")
    return EngineTeacher(engine, tokenizer, model=teacher.model, revision=revision, engine_class=teacher.engine.name)
