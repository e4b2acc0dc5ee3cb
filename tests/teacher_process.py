"""Asks a teacher in a process that can be killed: `python teacher_process.py STORE URL CONCURRENCY QUESTION...`."""

import sys
from pathlib import Path

from teacher_calls import asked, settings_of, teacher_at

from rl_distill.curation.generate import Generation, generate
from rl_distill.curation.store import ResponseStore
from rl_distill.errors import RunError


def main() -> int:
    root, url, concurrency, *questions = sys.argv[1:]
    teacher = teacher_at(url, concurrency=int(concurrency), request_timeout=20.0)
    with ResponseStore(Path(root), settings_of(teacher)) as store:
        print("begun", flush=True)
        try:
            generate(teacher, asked(questions), store, Generation())
        except RunError as error:
            print(f"stopped: {error}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
