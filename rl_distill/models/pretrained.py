"""A pretrained model that is given another context before it is taught."""

from collections.abc import Mapping
from typing import Any

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.models.loading import load_model, load_settings

FIELD = "student.model"


@config
class PretrainedModel:
    """A model from a folder or the hub whose longest sequence or rotary base is changed; its weights stay as they are.

    The change goes into the configuration that is saved with the model, so whatever loads the student later finds it there. Any
    value may be given, a shorter context than the model's own and the values it already has included.
    """

    path: str = setting(about="folder or hub name of a causal language model")
    max_context: int | None = setting(None, about="longest sequence; none keeps the model's own", unit="tokens", ge=2)
    rope_theta: float | None = setting(None, about="base of the rotary position code; none keeps the model's own", gt=0)

    def __post_init__(self) -> None:
        if self.max_context is None and self.rope_theta is None:
            raise ValueError(
                "path stands alone, so nothing is changed: give max_context or rope_theta, or a text instead of keys"
            )

    @property
    def pretraining(self) -> None:
        """It comes pretrained: a run keeps it as it is built."""
        return None

    def settings(self) -> Any:
        """The model's configuration with the change in it.

        Raises:
            InputError: it cannot be loaded, or its positions are coded otherwise than by one plain rotary base.
        """
        settings = load_settings(self.path, field=f"{FIELD}.path")
        text = settings.get_text_config()
        found = getattr(text, "rope_parameters", None)
        rope = found if isinstance(found, Mapping) else {}
        if rope.get("rope_type") != "default":
            raise InputError(
                FIELD,
                f"the context of {self.path!r} cannot be changed, for its positions are coded otherwise than by one plain rotary "
                f"base (rope_parameters: {found})",
                "drop max_context and rope_theta, or take a model with plain rotary positions",
            )
        if self.max_context is not None:
            text.max_position_embeddings = self.max_context
        if self.rope_theta is not None:
            text.rope_parameters = {**rope, "rope_theta": self.rope_theta}
        return settings

    def build(self, tokenizer: Any) -> Any:
        """The model, in float32, with the change in place. `tokenizer` is the model's own and changes nothing."""
        return load_model(self.path, field=f"{FIELD}.path", settings=self.settings())
