"""Importing this makes a process ready to compare symbolically; `Accuracy` names it to the processes that do.

The first comparison builds the library's grammar and patterns, which with all imports takes a second and a half.
"""

import logging

from rl_distill.rewards.accuracy import math_verified

_disabled = logging.root.manager.disable
logging.disable(logging.CRITICAL)  # the library warns that it has no timer: the pool has one
math_verified("1", "x")
logging.disable(_disabled)  # every process forked from here would be as silent
