"""The public way in, as docs/tour.py shows it."""

import re
import shutil
import subprocess
import sys

import pytest

from closure import ROOT


@pytest.mark.slow
def test_the_tour_goes_from_a_scan_to_a_score_and_a_picture(tmp_path):
    """In a folder of its own, with the study's parameters and base."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "data/base", tmp_path / "data/base")
    done = subprocess.run([sys.executable, ROOT / "docs/tour.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"225 patterns, \d+ photons each: NRMSE (0\.\d+), prior 0?\.\d+\n", done.stdout)
    assert found and float(found[1]) < 0.08, done.stdout
    assert (tmp_path / "tour.png").read_bytes().startswith(b"\x89PNG")
