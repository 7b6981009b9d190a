"""The memory that MAP takes beside a scan's own counts does not grow with the number of patterns."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from closure import ROOT
from ptychodose.iterative import poisson_map, problem
from ptychodose.physics import noise
from ptychodose.scans.scan import of_arrays
from ptychodose.study import params
from scenes import scene

SETTINGS = replace(params.load("params.yaml").reconstruct_map, iterations=2)
STATUS = Path("/proc/self/status")  # the peak of a process's own memory; getrusage adds that of who started it

RUN = """
import sys
sys.path[:0] = ["src", "tests"]
import numpy as np
import torch
from test_memory import solve_raster
torch.set_num_threads(1)
solve_raster(int(sys.argv[1]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def solve_raster(side):
    """Two iterations on side x side patterns of 32 x 32 pixels, of a probe of four modes, over the same 100 px."""
    y, x = np.indices((32, 32)) - 16
    probe = np.stack([np.exp(-(y**2 + x**2) / 60 + 0.1j * m * x) for m in range(4)]).astype(np.complex64) * 3
    axis = np.linspace(16, 84, side)
    positions = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    rate = np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), (-2, -1))) ** 2
    pattern = np.random.default_rng(0).poisson(rate.sum(0)).astype(np.uint8)
    counts = np.repeat(pattern[None], side**2, 0)
    poisson_map.solve(of_arrays(counts, probe, positions, (100, 100)), SETTINGS, noise.stream(0, "solver"), 1.0)


def peak(side):
    """MB at most, of a process of its own."""
    run = [sys.executable, "-c", RUN, str(side)]
    return int(subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.is_file(), reason="no /proc here")
def test_four_times_the_patterns_on_the_same_object_take_no_more_memory():
    """1,156 patterns and 4,624 are both more than have their probes kept, which would take 38 and 151 MB."""
    few, many = 34, 68
    assert few**2 * 4 * 32 * 32 > problem.KEPT
    assert peak(many) <= 1.10 * peak(few)


def test_probes_made_anew_for_every_block_give_the_same_bytes_as_kept_ones(monkeypatch):
    scan, settings = scene(1e4).scan, replace(SETTINGS, iterations=5)
    made = [poisson_map.solve(scan, settings, noise.stream(0, "solver"), 1.0).obj]
    assert problem.Problem(scan)._kept is not None
    monkeypatch.setattr(problem, "KEPT", 0)
    assert problem.Problem(scan)._kept is None
    made.append(poisson_map.solve(scan, settings, noise.stream(0, "solver"), 1.0).obj)
    assert made[0].tobytes() == made[1].tobytes()


def test_a_problem_at_rest_keeps_no_probes_and_answers_alike():
    made = problem.Problem(scene(1e4).scan)
    before = made.gradient(made.flat())
    made.rest()
    assert made._kept is None and bool((made.gradient(made.flat()) == before).all())
    made.set_probe(made.probe)
    assert made._kept is not None
