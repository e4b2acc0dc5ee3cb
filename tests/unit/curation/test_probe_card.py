"""What the data card tells of probes."""

import json

from rl_distill.curation.probe_card import probe_data, probe_tables

FACTS = {
    "probe_write": {
        "asked": {"ch": 4},
        "probes": {"ch": 3},
        "lost": {"ch": {"unparsable": 1}},
        "teacher": {"answers": 4, "prompt_tokens": 1200, "completion_tokens": 34, "price": 0.5},
    }
}


def test_a_bill_that_was_stored_with_sorted_keys_stands_under_its_own_heads():
    stored = json.loads(json.dumps(probe_data(FACTS), sort_keys=True))
    heading, header, rows = probe_tables(stored)[-1]
    assert heading == "Answers that were used"
    assert [dict(zip(header, row, strict=True)) for row in rows] == [
        {"stage": "probe_write, teacher", "answers": "4", "prompt tokens": "1,200", "answer tokens": "34", "price": "0.5"}
    ]


def test_what_was_lost_is_told_by_stage_rule_and_reason():
    tables = {heading: rows for heading, _, rows in probe_tables(probe_data(FACTS))}
    assert tables["Probes that went"] == [["probe_write", "ch", "unparsable", "1"]]
    assert tables["Probes in play after each stage"] == [["ch", "4", "3"], ["all", "4", "3"]]
