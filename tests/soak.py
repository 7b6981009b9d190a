"""The committed record of what `make soak` measured: metrics/soak.json, one section per experiment."""

import fcntl
import json
from datetime import date

from ptychodose.formats.atomic import write_json
from ptychodose.study import machine
from sandbox import ROOT

RECORD = ROOT / "metrics/soak.json"


def record(section: str, values: dict) -> None:
    """Replace one section by `values`, today's date and this machine; other sections stay."""
    (ROOT / "logs").mkdir(exist_ok=True)
    with open(ROOT / "logs/soak.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        document = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        document[section] = {**values, "date": date.today().isoformat(), "machine": machine.describe()}
        write_json(RECORD, document)
