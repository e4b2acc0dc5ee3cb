"""Importing this makes a process ready to compare symbolically; `Accuracy` names it to the processes that do.

The first comparison builds the library's grammar and patterns, which with all imports takes a second and a half.
"""

import logging

from rl_distill.rewards.accuracy import math_verified

_disabled = logging.root.manager.disable
logging.disable(logging.CRITICAL)  # the library warns that it has no timer: the pool has one
try:
    math_verified("1", "x")
except Exception as error:  # the only kind that the server outlives; each worker then says it again
    raise ImportError(f"math-verify cannot compare: {type(error).__name__}: {error}") from error
finally:
    logging.disable(_disabled)  # every process forked from here would be as silent
