"""Which changes of the surroundings leave every byte as it is, and why training pins its instruction set."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import determinism
import soak
from determinism import DATA, EXPERIMENTS, NARROW, ONE, TWO

FROM_OUTSIDE = [  # what a user's environment can say without leaving the class of CPUs
    "2 threads in the environment",
    "C library without AVX-512",
]
CLOSE = 1e-3  # of the largest weight, after the few updates of the tiny profile
WIDE = np._core._multiarray_umath.__cpu_features__["AVX512F"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FROM_OUTSIDE)
def test_data_and_training_have_the_same_bytes(finished, tmp_path, name):
    change = replace(EXPERIMENTS[name], stages=(*DATA, "train_dense"))
    row = determinism.measure(finished, tmp_path, change)[1]
    assert row["identical"], row


@pytest.fixture(scope="module")
def unpinned(finished, tmp_path_factory):
    """Trained on all that this CPU has, with one thread."""
    return determinism.carry_out(finished, tmp_path_factory.mktemp("unpinned") / "study", _dense(ONE))[0]


def _dense(name):
    return replace(EXPERIMENTS[name], stages=("train_dense",))


@pytest.mark.slow
def test_same_threads_and_instruction_set_give_the_same_bytes(unpinned, tmp_path):
    row = determinism.measure(unpinned, tmp_path, _dense(f"{ONE}, again"))[1]
    assert row["identical"], row


@pytest.mark.slow
def test_other_threads_give_close_weights(unpinned, tmp_path):
    row = determinism.measure(unpinned, tmp_path, _dense(TWO))[1]
    assert row["weights_differ_by"] < CLOSE  # the number of threads is part of the bundle


@pytest.mark.slow
@pytest.mark.skipif(not WIDE, reason="this CPU has no AVX-512 to do without")
def test_another_instruction_set_gives_close_weights(unpinned, tmp_path):
    """Without the pins; the tiny study's happen to be equal since its network has no dilated layers."""
    row = determinism.measure(unpinned, tmp_path, _dense(NARROW))[1]
    assert row["identical"] or row["weights_differ_by"] < CLOSE


@pytest.mark.soak
def test_every_row_of_the_table(finished, tmp_path):
    rows, studies = {}, {"": finished}
    for name, change in EXPERIMENTS.items():
        reason = determinism.missing(change, finished.home)
        if reason:
            rows[name] = {"not measured": reason}
            continue
        folder = tmp_path / str(len(rows))
        studies[name], rows[name] = determinism.measure(studies[change.against], folder, change)
        print(name, rows[name], flush=True)
        if not any(other.against == name for other in EXPERIMENTS.values()):
            shutil.rmtree(folder)
    soak.record("determinism", {"rows": rows})
    measured = {name: row for name, row in rows.items() if "identical" in row}
    wrong = {name: determinism.unexpected(row, EXPERIMENTS[name]) for name, row in measured.items()}
    assert not any(wrong.values()), {name: files for name, files in wrong.items() if files}
