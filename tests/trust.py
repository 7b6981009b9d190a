"""The measured tables of docs/trust.md, from metrics/soak.json and the tests' own tables.

`PYTHONPATH=src python tests/trust.py --write` puts them between their markers, as `make soak` does.
"""

import json
import re
import sys

from damages import DAMAGES
from sandbox import ROOT
from soak import RECORD

PAGE = ROOT / "docs/trust.md"
MARK = re.compile(r"(?s)(<!-- (\w+):begin -->\n).*?(<!-- \w+:end -->)")


def table(head: list[str], rows: list[list[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def stamp(section: dict) -> str:
    """When and on what a section was measured."""
    machine = section["machine"]
    libraries = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "numpy", "h5py", "dvc"))
    return f"Measured {section['date']} on {machine['cores']} cores of {machine['cpu']}, {libraries}.\n"


def damages(_: dict) -> str:
    from test_verify import DVC_NOTICES

    rows = [[name, "yes" if DVC_NOTICES[name] else "**no**", kind] for name, (_, _, kind) in DAMAGES.items()]
    return table(["damage", "`dvc status` notices", "`verify` says"], rows)


def determinism(record: dict) -> str:
    rows = []
    for name, row in record["rows"].items():
        if "identical" not in row:
            rows.append([name, f"not measured: {row['not measured']}", ""])
            continue
        said = "yes" if row["identical"] else "**no**"
        if "weights_differ_by" in row:
            said += f", weights differ by {row['weights_differ_by']:.1g} of the largest"
        elif not row["identical"]:
            said += ": " + ", ".join(row["differs"])
        against = f" (compared with: {row['compared_with']})" if "compared_with" in row else ""
        rows.append([name + against, said, _stages(row["stages"])])
    return stamp(record) + "\n" + table(["change", "identical?", "stages"], rows)


def _stages(names: list[str]) -> str:
    trained = [name for name in names if name.startswith("train_")]
    others = [name for name in names if name not in trained]
    return ", ".join([*others, *([f"{len(trained)} trainings"] if trained else [])])


def kills(record: dict) -> str:
    stages = {name: row for name, row in record.items() if name not in ("date", "machine")}
    rows = [[name, row["kills"], row["alive_when_killed"]] for name, row in stages.items()]
    return stamp(record) + "\n" + table(["killed with SIGKILL", "kills", "of a living process"], rows)


def fuzz(record: dict) -> str:
    readers = {name: row for name, row in record.items() if name not in ("date", "machine")}
    rows = [[name, row["inputs"], row["valid"], row["refused"]] for name, row in readers.items()]
    return stamp(record) + "\n" + table(["reader", "inputs", "loaded as valid", "refused in one line"], rows)


TABLES = {"damages": damages, "determinism": determinism, "kills": kills, "kills_of_dvc": kills, "fuzz": fuzz}


def updated(text: str) -> str:
    """The page with every table as measured; a section that was not is said to be so."""
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}

    def fill(match: re.Match[str]) -> str:
        name = match.group(2)
        known = name == "damages" or name in record
        return match.group(1) + (TABLES[name](record.get(name, {})) if known else "Not measured.\n") + match.group(3)

    return MARK.sub(fill, text)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
