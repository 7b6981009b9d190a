"""The importer on one real measured scan, where it is present."""

import pytest

from closure import ROOT
from ptychodose.exchange import orientation, reading
from ptychodose.exchange.found import Told

SIEMENS = ROOT.parent / "shared" / "data" / "real_siemens_velociprobe.npz"


@pytest.mark.slow
@pytest.mark.skipif(not SIEMENS.is_file(), reason="the measured scan is absent")
def test_a_real_scan_is_counts_and_lies_as_it_says():
    taken = reading.read(SIEMENS, Told())
    residuals = orientation.residuals(taken)
    assert taken.counts.shape == (516, 128, 128) and orientation.verdict(residuals)[1]
    assert residuals["as read"] == pytest.approx(0.109, abs=0.003)
    assert residuals["half a pixel off"] == pytest.approx(0.116, abs=0.003)
