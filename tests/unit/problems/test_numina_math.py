"""NuminaMath: sources are chosen, gold answers come out of solutions."""

import json

from rl_distill.problems.numina_math import NuminaMath


def test_the_chosen_sources_are_taken_with_the_box_of_their_solutions(tmp_path):
    rows = [
        {"problem": "1 + 1?", "solution": r"so \boxed{2}", "source": "amc_aime"},
        {"problem": "Prove it.", "solution": "clear", "source": "olympiads"},
        {"problem": "2 + 2?", "solution": r"\boxed{4}", "source": "cn_k12"},
    ]
    path = tmp_path / "numina.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [(group.problem.id, group.problem.answer, group.problem.source) for group in NuminaMath(path=str(path)).groups()]
    assert found == [("numina-1", "2", "amc_aime"), ("numina-2", None, "olympiads")]
