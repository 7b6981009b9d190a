"""docs/trust.md says what was measured."""

import json

import trust
from soak import RECORD


def test_the_page_holds_the_measured_tables():
    text = trust.PAGE.read_text(encoding="utf-8")
    assert {match.group(2) for match in trust.MARK.finditer(text)} == set(trust.TABLES)
    assert trust.updated(text) == text, "run `PYTHONPATH=src python tests/trust.py --write`"


def test_the_record_is_that_of_a_release():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert {"determinism", "kills", "kills_of_dvc", "fuzz"} <= set(record)
    assert all(section["date"] and section["machine"]["torch"] for section in record.values())
    for name in ("kills", "kills_of_dvc", "fuzz"):
        rows = [row for key, row in record[name].items() if key not in ("date", "machine")]
        assert all(row.get("kills", 20) >= 20 and row.get("inputs", 20_000) >= 20_000 for row in rows)
