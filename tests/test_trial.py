"""The scan that every arm reconstructs: views in their own order, equal photons for views of unequal size."""

import numpy as np
import pytest

from ptychodose.scans.trial import Trial
from ptychodose.scans.views import View
from scenes import scene


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


def test_a_view_is_read_in_its_own_order(bright):
    index = np.array([7, 3, 50, 4])
    trial = Trial(bright.scan, {"odd": View(index, np.zeros(4, np.int32), {})})
    assert np.array_equal(trial.of("odd").counts, bright.scan.counts[index])
    assert np.array_equal(trial.of("odd").positions, bright.scan.positions[index])
    assert np.array_equal(trial.positions("odd"), bright.scan.positions[index])


def test_equal_total_needs_both_views(bright):
    assert bright.trial("dense").equal_total is None
    assert bright.trial("sparse").equal_total is None
    assert bright.trial("dense", "sparse").equal_total == len(bright.scan.positions[::6]) / len(bright.scan)


def test_thinning_keeps_the_share_and_invents_no_photon(bright):
    trial = bright.trial("dense", "sparse")
    share = trial.equal_total
    few, whole, sparse = trial.thinned(share, 5), trial.of("dense"), trial.of("sparse")
    assert (few.counts <= whole.counts).all()
    total = int(whole.counts.sum())
    assert int(few.counts.sum()) == pytest.approx(share * total, abs=5 * np.sqrt(share * (1 - share) * total))
    assert int(few.counts.sum()) == pytest.approx(int(sparse.counts.sum()), rel=0.05), "the sparse view's photons"
    assert few.incident == pytest.approx(share * whole.incident), "and it is solved with that share of the probe"


def test_every_arm_gets_the_same_thinned_counts(bright):
    """Nothing is remembered between calls, and only the seed of the noise decides."""
    trial = bright.trial("dense", "sparse")
    first, again, other = (trial.thinned(0.2, seed).counts for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
