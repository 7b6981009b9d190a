"""The scan that every arm reconstructs: views in their own order, equal photons for views of unequal size."""

import numpy as np
import pytest

from ptychodose.scans import scan
from ptychodose.scans.views import View
from scenes import scene


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


def test_a_view_is_read_in_its_own_order(bright):
    index = np.array([7, 3, 50, 4])
    view = View(index, np.zeros(4, np.int32), {})
    test = scan.Scan(bright.whole().header, bright.counts, {"odd": view})
    assert np.array_equal(test.read("odd"), bright.counts[index])
    assert np.array_equal(test.positions("odd"), bright.positions[index])


def test_equal_total_needs_both_views(bright):
    assert scan.equal_total(bright.whole("dense")) is None
    assert scan.equal_total(bright.whole("sparse")) is None
    share = scan.equal_total(bright.whole("dense", "sparse"))
    assert share == len(bright.positions[::6]) / len(bright.positions)


def test_thinning_keeps_the_share_and_invents_no_photon(bright):
    test = bright.whole("dense", "sparse")
    share = scan.equal_total(test)
    few = scan.thinned(test, share, 5)
    assert (few <= test.read("dense")).all()
    total = int(test.read("dense").sum())
    assert int(few.sum()) == pytest.approx(share * total, abs=5 * np.sqrt(share * (1 - share) * total))
    assert int(few.sum()) == pytest.approx(int(test.read("sparse").sum()), rel=0.05), "the sparse view's photons"


def test_every_arm_gets_the_same_thinned_counts(bright):
    """Nothing is remembered between calls, and only the seed of the noise decides."""
    test = bright.whole("dense", "sparse")
    first, again, other = (scan.thinned(test, 0.2, seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
