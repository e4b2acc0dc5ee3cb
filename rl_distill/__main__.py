"""`python -m rl_distill` is `rl-distill`."""

import sys

from rl_distill.cli import main

if __name__ == "__main__":
    sys.exit(main())
