"""The micro-world's teacher behind the protocol: costs nothing, needs nothing, and is wrong in known ways."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from random import Random
from typing import Any

from rl_distill.curation.failures import failure_of_finish
from rl_distill.curation.teacher import Attempt, NotAsked, Response, TeacherRequest, TeacherSampling
from rl_distill.errors import InputError
from rl_distill.problems.arithmetic_chain import Chain
from rl_distill.problems.arithmetic_teacher import TEACHER_HABITS, Habits, attempt

MODEL = "arithmetic-teacher"
_CHAIN = re.compile(r"(\d+)((?: [+-] \d+)+) = \?")
_HAS_NO_EFFECT = [field.name for field in fields(TeacherSampling) if field.name != "max_tokens"]


class ProceduralTeacher:
    """A `Teacher` that answers "15 - 9 + 4 = ?" with a trace in its own manner, a function of the request's seed."""

    shard_size, concurrency = 1, 1

    def __init__(self, habits: Habits = TEACHER_HABITS) -> None:
        self._habits = habits
        self._draining = False

    def identity(self) -> Mapping[str, Any]:
        return {"model": MODEL, "revision": "", "endpoint_class": "procedural", "habits": self._habits._asdict()}

    def check(self, request: TeacherRequest) -> None:
        if request.schema is not None or request.system_prompt is not None:
            raise InputError("teacher", "the procedural one reads neither a system prompt nor a schema", "drop it")
        if request.sampling != (plain := TeacherSampling(max_tokens=request.sampling.max_tokens)):
            changed = next(name for name in _HAS_NO_EFFECT if getattr(request.sampling, name) != getattr(plain, name))
            raise InputError(f"sampling.{changed}", "has no effect on the procedural teacher", "drop it")
        self._chain(request)

    async def ask(self, shard: Sequence[TeacherRequest]) -> list[Response]:
        if self._draining:
            raise NotAsked
        return [self._answer(request) for request in shard]

    def drain(self) -> None:
        self._draining = True

    async def close(self) -> None:
        """Nothing to give back."""

    def _answer(self, request: TeacherRequest) -> Response:
        reply = attempt(self._chain(request), self._habits, Random(request.seed))
        finish = "stop" if reply.answer is not None else "length"  # a trace that breaks off is a truncated one
        failure, detail = failure_of_finish(finish, reply.text) or (None, "")
        return Response(
            row_key=request.row_key,
            problem_id=request.problem_id,
            seed=request.seed,
            text=reply.text,
            finish_reason=finish,
            model=MODEL,
            prompt_tokens=len(request.messages[-1].content.split()),
            completion_tokens=len(reply.text.split()),
            max_tokens=request.sampling.max_tokens,
            failure=failure,
            detail=detail,
            attempts=(Attempt(failure=failure, message=detail, seconds=0.0, endpoint="procedural"),),
            raw={"kind": reply.kind, "num_merges": reply.num_merges, "answer": reply.answer},
        )

    def _chain(self, request: TeacherRequest) -> Chain:
        found = _CHAIN.match(request.messages[-1].content)
        if found is None:
            raise InputError(
                "problems", f"{request.problem_id!r} is no chain of additions and subtractions", "use problems of `arithmetic`"
            )
        return Chain(int(found[1]), tuple(int(part.replace(" ", "")) for part in re.findall(r"[+-] \d+", found[2])))
