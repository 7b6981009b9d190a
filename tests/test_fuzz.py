"""Whatever bytes a reader is given, it loads something valid or says in one line what is wrong: no traceback, no hang,
no memory, no code run, nothing written."""

import itertools
import re
import signal
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, configuration, given, settings
from hypothesis import strategies as st

import fuzz
import hostile_archive
import hostile_foreign
import hostile_hdf5
import hostile_text
import soak
from mutate import hostile
from samples import READERS

EXAMPLES, SOAK = 500, 40_000
GROWTH = 400  # MiB of a process over all its inputs
FAST = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
MEMORY = 16 * 2**20  # bytes; the largest sample has 22 kB
HOSTILE = {
    "params": hostile_text.PARAMS, "cxi": hostile_hdf5.CXI, "base": hostile_archive.BASE, "view": hostile_hdf5.VIEW,
    "bundle": hostile_archive.BUNDLE, "manifest": hostile_text.MANIFEST, "training": hostile_text.TRAINING,
    "nexus": hostile_foreign.NEXUS, "matlab": hostile_foreign.MATLAB, "ptyd": hostile_foreign.PTYD,
    "product": hostile_foreign.PRODUCT, "tike": hostile_foreign.TIKE,
}  # fmt: skip
CASES = [pytest.param(name, case, id=f"{name}: {case}") for name, cases in HOSTILE.items() for case in cases]


@pytest.fixture(scope="module", autouse=True)
def no_folder_of_hypothesis(tmp_path_factory):
    configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture
def limited():
    """A hang fails the test; memory is counted."""

    def hang(*_):
        raise AssertionError(f"no end after {fuzz.SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(fuzz.SECONDS)
    tracemalloc.start()
    yield
    tracemalloc.stop()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = itertools.chain([folder], folder.rglob("*"))
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found}


@pytest.mark.parametrize("name", READERS)
def test_samples_are_valid(name, tmp_path):
    assert fuzz.outcome(READERS[name].read, READERS[name].make(tmp_path)) == "valid"


@pytest.mark.parametrize(("name", "case"), CASES)
def test_hostile_files_are_one_line_and_cost_nothing(name, case, tmp_path, monkeypatch, limited, capfd):
    change, words = HOSTILE[name][case]
    home = tmp_path / "study" / "here"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    path = READERS[name].make(home)
    change(path)
    before = listing(tmp_path)
    tracemalloc.reset_peak()
    start = tracemalloc.get_traced_memory()[0]
    found = fuzz.outcome(READERS[name].read, path)
    assert tracemalloc.get_traced_memory()[1] - start < MEMORY
    assert listing(tmp_path) == before, "nothing is written, no code is run"
    assert capfd.readouterr() == ("", "")
    assert re.search(words, found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_random_changes_load_or_are_refused_in_one_line(name, tmp_path):
    path, seen = READERS[name].make(tmp_path), Counter()
    data, before = path.read_bytes(), {p for p in listing(tmp_path.parent) if str(tmp_path) not in p or p == str(path)}

    @settings(FAST, max_examples=EXAMPLES)
    @given(st.randoms(use_true_random=False))
    def check(rng):
        path.write_bytes(hostile(name, data, rng))
        signal.alarm(fuzz.SECONDS)  # its default ends the run: a hang in HDF5 itself cannot be interrupted
        seen[fuzz.outcome(READERS[name].read, path) == "valid"] += 1
        signal.alarm(0)

    check()
    assert seen.total() >= EXAMPLES and seen[True] and seen[False]
    assert before <= set(listing(tmp_path.parent)) and not list(tmp_path.parent.rglob("evil"))


@pytest.mark.soak
def test_many_random_changes_in_processes_of_their_own(tmp_path):
    found = {}
    for name in READERS:
        folder = tmp_path / name
        folder.mkdir()
        found[name] = fuzz.run_apart(name, 0, SOAK, folder)
        assert found[name]["inputs"] == SOAK and found[name]["mebibytes"] < GROWTH
        assert not list(tmp_path.rglob("evil"))
    soak.record("fuzz", found)
