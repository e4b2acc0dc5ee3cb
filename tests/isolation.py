"""Whether this machine can isolate programs: where it cannot, that it refuses to is tested, and what it cannot run is skipped."""

from functools import cache

from rl_distill.errors import InputError
from rl_distill.rewards.sandbox import check_machine


@cache
def why_not() -> str:
    """The reason, or nothing."""
    try:
        check_machine(isolated=True)
    except InputError as error:
        return str(error)
    return ""
