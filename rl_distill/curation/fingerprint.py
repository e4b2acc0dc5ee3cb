"""What answers depend on, as canonical JSON and its hash: the address of a run in the store."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from rl_distill.config import dump
from rl_distill.curation.teacher import Teacher, TeacherRequest, TeacherSampling

CODE_VERSION = 1  # of this stage; raised when the same settings would come to other requests


def run_settings(
    teacher: Teacher,
    *,
    template: str,
    sampling: TeacherSampling,
    seed: int,
    system_prompt: str | None = None,
    schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that answers depend on beside their row.

    Args:
        template: the text that puts a problem to the teacher.
    """
    return {
        "code": CODE_VERSION,
        "teacher": dict(teacher.identity()),
        "template": template,
        "system_prompt": system_prompt,
        "sampling": dump(sampling),
        "schema": None if schema is None else dict(schema),
        "seed": seed,
    }


def fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, in hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()


def row_fingerprint(request: TeacherRequest) -> str:
    """SHA-256 of what one request asks: two that differ in anything that is sent differ here."""
    return fingerprint(
        {
            "row_key": request.row_key,
            "conversation": [[turn.role, turn.content] for turn in request.conversation],
            "sampling": dump(request.sampling),
            "schema": request.schema,
            "seed": request.seed,
        }
    )


def canonical_json(value: Any) -> str:
    """One text for one value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def differences(stored: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(field, stored value, present value) of each leaf that differs, fields as dotted paths; an absent one is None."""
    for key in sorted(stored.keys() | now.keys()):
        before, after = stored.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after
