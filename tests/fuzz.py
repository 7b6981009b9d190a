"""What must come of hostile inputs: something valid, or one line of our own.

`python tests/fuzz.py READER FIRST COUNT FOLDER` reads COUNT inputs in this process: a crash or a hang of HDF5 itself
ends it, and the seed of the last input is in FOLDER.
"""

import faulthandler
import json
import os
import random
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from mutate import hostile
from ptychodose.errors import StudyError
from samples import READERS
from sandbox import ROOT

SECONDS = 10  # for one input
LONGEST = 600  # characters of a message without its path


def outcome(read: Callable[[Path], object], path: Path) -> str:
    """ "valid" or the one line of our own error; anything else raises."""
    try:
        read(path)
    except StudyError as error:
        message = str(error)
        assert message.isprintable() and len(message) < LONGEST + len(str(path)), message[:2000]
        return message
    return "valid"


def run(name: str, first: int, count: int, folder: Path) -> dict[str, int]:
    """Read `count` inputs in this process, which is killed when one takes too long; counts of valid and refused ones,
    and by how many MiB the process has grown."""
    made, found = READERS[name].make(folder), {"inputs": 0, "valid": 0, "refused": 0}
    data, before = made.read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(first, first + count):
        (folder / "seed").write_text(str(seed))
        made.write_bytes(hostile(name, data, random.Random(f"{name} {seed}")))
        signal.alarm(SECONDS)
        found["valid" if outcome(READERS[name].read, made) == "valid" else "refused"] += 1
        signal.alarm(0)
        found["inputs"] += 1
    return {**found, "mebibytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024}


def run_apart(name: str, first: int, count: int, folder: Path) -> dict[str, int]:
    """`run` in a process of its own; AssertionError with the seed when that ends by a crash, a hang or a traceback."""
    command = [sys.executable, __file__, name, str(first), str(count), str(folder)]
    known = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, check=False)
    seed = (folder / "seed").read_text() if (folder / "seed").is_file() else "none"
    assert done.returncode == 0, f"{name}, seed {seed}: exit {done.returncode}\n{done.stderr[-2000:]}"
    return json.loads(done.stdout)


if __name__ == "__main__":
    faulthandler.enable()
    warnings.simplefilter("error")
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
