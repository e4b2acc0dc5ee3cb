"""Strict configuration: YAML and dotted overrides through OmegaConf into frozen pydantic dataclasses.

A configuration class lives beside the code it configures. It is written as

    @config
    class Sampling:
        temperature: float = setting(1.0, about="softmax temperature", source="arXiv:2501.12948", gt=0)

and every key it does not know is an error that names the nearest one it does.
"""

from rl_distill.config.declaring import config, one_of, setting
from rl_distill.config.listing import keys
from rl_distill.config.loading import dump, json_schema, overridden, parse, read_yaml

__all__ = ["config", "dump", "json_schema", "keys", "one_of", "overridden", "parse", "read_yaml", "setting"]
