"""The golden record: what the tiny study and one small scene gave when their numbers were last meant to change.

`python tests/golden.py --write` records both anew (minutes: it runs the tiny study) and prints what moved;
`--write fast` records only the scene.
"""

import argparse
import hashlib
import json
import math
import re
import sys
import tempfile
from pathlib import Path

from sandbox import ROOT, fresh

FOLDER = ROOT / "tests/golden"
COMMAND = "python tests/golden.py --write"
LONG = 12  # a longer list is recorded by its length, ends and digest
SHOWN = 40  # entries named before the rest is only counted
SCENE = 5e-5  # relative: 1.6e-5 was measured between CPU kernels; bounds are rounded to six digits
PINNED, UNPINNED = 1e-6, 1e-3  # relative, of the tiny study: records have seven digits
BYTES = ("digests", "environments")  # compared only where the CPU can give the recorded bytes
ABSENT = "absent"


# What is recorded


def tiny(folder: Path) -> dict:
    """Content digests by stage and path, and all numbers, of the finished study in `folder`. Stages' own manifests are
    left out: they say which code ran, down to its comments."""
    manifest = _read(folder / "manifest.json")
    stages = manifest["stages"].items()
    return condensed({
        "environments": manifest["environments"],
        "digests": {stage: {row["path"]: row["content_sha256"] for row in _results(rows)} for stage, rows in stages},
        "compare": _read(folder / "metrics/compare.json"),
        "details": _read(folder / "metrics/details.json"),
        "views": _read(folder / "data/views/details.json"),
        "limit": _read(folder / "data/limit/limit.json"),
    })  # fmt: skip


def _results(rows: list[dict]) -> list[dict]:
    return [row for row in rows if not row["path"].startswith("data/manifests/")]


def scene() -> dict:
    import golden_scene  # needs src on the path, which a command line has not yet when this file is read

    return condensed(golden_scene.numbers())


def condensed(value):
    """Numbers to seven digits; long lists as length, ends and the digest of their items to six."""
    if isinstance(value, dict):
        return {str(key): condensed(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > LONG:
        text = json.dumps(_rounded(value, 6))
        ends = {"length": len(value), "first": condensed(value[0]), "last": condensed(value[-1])}
        return {**ends, "sha256": hashlib.sha256(text.encode()).hexdigest()[:16]}
    return [condensed(item) for item in value] if isinstance(value, list) else _rounded(value, 7)


def _rounded(value, digits):
    if isinstance(value, list):
        return [_rounded(item, digits) for item in value]
    return float(f"{value:.{digits - 1}e}") if isinstance(value, float) else value


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def load(name: str) -> dict:
    return _read(FOLDER / f"{name}.json") if (FOLDER / f"{name}.json").is_file() else {}


# What moved


def moved(old: dict, new: dict, rel: float, with_bytes: bool = True) -> dict[str, str]:
    """'old -> new' of every entry, by dotted name, that differs: floats by more than `rel`, all else at all.

    Without bytes, digests and the environments they belong to are left out.
    """
    before, after = (_flat(record if with_bytes else _without_bytes(record)) for record in (old, new))
    pairs = {key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in before | after}
    return {key: f"{a} -> {b}" for key, (a, b) in pairs.items() if not _same(a, b, rel)}


def _without_bytes(record):
    if not isinstance(record, dict):
        return record
    return {key: _without_bytes(item) for key, item in record.items() if key not in (*BYTES, "sha256")}


def _flat(value, name=""):
    if not isinstance(value, dict | list):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = {}
    for key, item in items:
        found |= _flat(item, f"{name}.{key}" if name else str(key))
    return found or {name: "empty"}


def _same(a, b, rel):
    if type(a) is type(b) is float:
        return math.isclose(a, b, rel_tol=rel, abs_tol=1e-6 * rel)  # the oracle's error is rounding alone
    return type(a) is type(b) and a == b


def said(changes: dict[str, str]) -> str:
    """The message of a failed comparison: where numbers agree only the bytes, then every entry, then what to do."""
    head = [f"{len(changes)} entries of the golden record moved:"]
    if all(key.startswith("digests.") for key in changes):
        stages = ", ".join(sorted({key.split(".")[1] for key in changes}))
        head = [f"all numbers agree, but the bytes of {len(changes)} files moved (of stage {stages}):"]
    lines = [f"  {key}: {change}" for key, change in list(changes.items())[:SHOWN]]
    more = [f"  and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else []
    return "\n".join([*head, *lines, *more, f"meant? then `{COMMAND}`, and say in the commit which and why"])


def honours_pins() -> bool:
    """Whether this CPU has what the pinned stages need to give the recorded bytes."""
    from ptychodose.study import isa

    return all(isa.__cpu_features__.get(name, False) for name in isa.NEEDED)


# Recording anew


def write(name: str, new: dict, rel: float) -> None:
    """Replace a record when something moved, and print what did."""
    changes = moved(load(name), new, rel)
    for key, change in changes.items():
        print(f"{name}: {key}: {change}")
    print(f"{name}: {len(changes)} entries moved" if changes else f"{name}: nothing moved, record left as it is")
    if changes:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(_text(new), encoding="utf-8")


def _text(record: dict) -> str:
    """JSON with every innermost list or mapping on a line of its own; digests stay a line each."""
    text = json.dumps(record, indent=1)
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", _line, text) + "\n"


def _line(found: re.Match) -> str:
    line = " ".join(found.group().split())
    return found.group() if "/" in line or len(line) > 400 else line


def study_of_today() -> dict:
    """Run the tiny study in a temporary folder."""
    if not honours_pins():
        sys.exit("error: this CPU lacks AVX2 or FMA, so its bytes are not for the record; use another machine")
    with tempfile.TemporaryDirectory() as folder:
        made = fresh(Path(folder, "study"), Path(folder, "home"))
        made.dvc("repro")
        return tiny(made.folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the golden numbers anew and print what moved.")
    parser.add_argument("--write", nargs="?", const="all", choices=("all", "fast"), required=True)
    wanted = parser.parse_args().write
    write("scene", scene(), SCENE)
    if wanted == "all":
        write("tiny", study_of_today(), PINNED)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
