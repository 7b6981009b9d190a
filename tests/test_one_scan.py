"""The one holder of a scan: its photons, background and mask move together, masked pixels have no say."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.physics import noise, simulate
from ptychodose.scans import tensors
from ptychodose.scans.scan import information_share, of_arrays, shrunk
from scenes import scene

MASK = np.arange(64 * 64).reshape(64, 64) % 9 > 0


@pytest.fixture(scope="module")
def bright():
    return scene(1e4)


@pytest.fixture(scope="module")
def noisy():
    return scene(1e4, background=0.5, mask=MASK)


def test_a_share_of_the_photons_is_taken_of_counts_probe_background_and_dose_together(noisy):
    scan = noisy.scan
    kept, rest = scan.split(0.3, noise.stream(0, "thinning"))
    assert ((kept.read() + rest.read()) == scan.read()).all()
    for part, share in ((kept, 0.3), (rest, 0.7)):
        assert part.counts.sum() == pytest.approx(share * scan.read().sum(), rel=0.01)
        assert part.probe == pytest.approx(scan.probe * share**0.5, rel=1e-6)
        assert part.background == pytest.approx(scan.background * share) and part.dose == scan.dose * share
        assert part.level == pytest.approx(scan.level, rel=0.01), "the object is the same at every dose"
        assert part.efficiency == pytest.approx(scan.efficiency, rel=0.03)
    alone = scan.thin(0.3, noise.stream(0, "thinning"))
    assert (alone.counts == kept.counts).all()


def test_masked_pixels_are_zero_wherever_counts_are_read(noisy):
    spoilt = replace(noisy.scan, counts=noisy.scan.counts + 1000 * ~MASK)
    assert (spoilt.read() == noisy.scan.counts * MASK).all() and not spoilt.read()[:, ~MASK].any()
    for name in ("signal", "level", "efficiency"):
        assert getattr(spoilt, name) == getattr(noisy.scan, name), name
    assert spoilt.photons_per_pixel(7.2) == noisy.scan.photons_per_pixel(7.2)
    assert (
        spoilt.thin(0.5, noise.stream(1, "thinning")).counts == noisy.scan.thin(0.5, noise.stream(1, "thinning")).counts
    ).all()


def test_background_is_no_signal(bright, noisy):
    assert noisy.scan.read().sum() > bright.scan.read().sum()
    good = simulate.expected_counts(bright.obj, bright.scan.probe, bright.scan.positions)[:, MASK].sum() / len(
        bright.scan
    )
    assert noisy.scan.signal == pytest.approx(good, rel=0.01)
    assert noisy.scan.photons_per_pixel(7.2) == pytest.approx(good / 7.2**2, rel=0.01)
    assert noisy.scan.level == pytest.approx(bright.scan.level, rel=0.02), "nor does it make the object transparent"


def test_no_light_beside_the_background_is_one_line(bright):
    dark = replace(bright.scan, background=np.full((64, 64), 5.0))
    with pytest.raises(StudyError, match="no more than the background of 20480; correct") as caught:
        _ = dark.level
    assert "\n" not in str(caught.value)


def test_efficiency_is_the_information_that_is_left(bright, noisy):
    assert bright.scan.efficiency == 1.0
    signal, none = np.array([[4.0, 1.0], [1.0, 0.0]]), np.zeros((2, 2))
    good = np.ones((2, 2), bool)
    assert information_share(signal, none, good) == pytest.approx(1)
    assert information_share(signal, none + 1, good) == pytest.approx((16 / 5 + 1 / 2 + 1 / 2) / 6)
    good[0, 0] = False
    assert information_share(signal, none, good) == pytest.approx(2 / 6)
    expected = (noisy.scan.expected(noisy.obj) - 0.5).mean(0)
    assert noisy.scan.efficiency == pytest.approx(information_share(expected, noisy.scan.background, MASK), rel=0.03)


def test_nuisances_are_named():
    clean = of_arrays(None, np.ones((8, 8)), np.zeros((3, 2)), (20, 20))
    assert clean.nuisances == set() and clean.probe.shape == (1, 8, 8)
    every = replace(clean, background=clean.background + 1, mask=np.eye(8) == 0, probe=np.ones((2, 8, 8), np.complex64))
    assert every.nuisances == {"background", "mask", "modes"}


def test_patterns_are_read_from_a_file_in_any_order_each_once(bright, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["counts"] = bright.scan.counts
        scan = replace(bright.scan, counts=file["counts"])
        index = np.array([[7, 3], [50, 3]])
        assert (scan.read(index) == bright.scan.counts[index]).all()
        chosen = scan.select(np.array([9, 2, 40]))
        assert (chosen.read() == bright.scan.counts[[9, 2, 40]]).all()
        assert (chosen.select(np.array([2, 0])).read() == bright.scan.counts[[40, 9]]).all()
        assert (chosen.positions == bright.scan.positions[[9, 2, 40]]).all()
        assert (chosen.nodes.index == bright.scan.nodes.index[[9, 2, 40]]).all()
        copied = chosen.copy()
    assert (copied.counts == bright.scan.counts[[9, 2, 40]]).all(), "a copy outlives its file"
    with pytest.raises(ValueError, match="planned"):
        replace(bright.scan, counts=None).read()


@pytest.mark.parametrize(("most", "dtype"), [(0, np.uint8), (255, np.uint8), (256, np.uint16), (65536, np.uint32),
                                             (2**32, np.uint64)])  # fmt: skip
def test_counts_in_memory_take_the_smallest_type_that_holds_them_and_no_count_is_lost(most, dtype):
    counts = np.array([[0, most], [most // 2, 1 if most else 0]])
    assert shrunk(counts).dtype == dtype and (shrunk(counts) == counts).all()


def test_packed_is_what_read_gives_whatever_the_blocks_hold(noisy):
    """Blocks of small counts and one of large ones; bad pixels are zero."""
    counts = noisy.scan.counts % 200
    counts[70] += 100_000
    scan = replace(noisy.scan, counts=np.where(MASK, counts, 10**6))
    packed = scan.packed()
    assert (packed == counts * MASK).all() and packed.dtype == np.uint32
    assert replace(scan, counts=counts % 200).packed().dtype == np.uint8
    chosen = scan.select(np.array([9, 70, 2]))
    assert (chosen.packed() == (counts * MASK)[[9, 70, 2]]).all() and (chosen.copy().counts == chosen.packed()).all()
    for part in chosen.split(0.5, noise.stream(0, "thinning")):
        assert part.counts.dtype.kind == "u" and part.counts.dtype.itemsize < 8


def test_the_flat_object_transmits_the_signal(noisy):
    flat = noisy.scan.expected(noisy.scan.flat()) - 0.5
    assert flat[:, MASK].sum() / len(noisy.scan) == pytest.approx(noisy.scan.signal, rel=1e-4)


def test_torch_patterns_hold_what_the_scan_holds(bright, noisy):
    index = np.array([[0, 5], [9, 3]])
    corners, origins, shape = tensors.place(noisy.scan, index)
    made = tensors.patterns(noisy.scan, index, corners, shape)
    assert made.probes.shape == (2, 2, 1, 64, 64) and (made.background == 0.5).all()
    assert (np.fft.fftshift(made.mask.numpy()) == MASK).all()
    assert (np.fft.fftshift(made.counts.numpy(), axes=(-2, -1)) == noisy.scan.read(index)).all()
    assert made.level.unique().tolist() == pytest.approx([noisy.scan.level]) and made.efficiency.shape == (2, 1, 1)
    absolute = corners.numpy() + origins[:, None]
    assert (absolute == np.rint(noisy.scan.positions[index]) - 32).all()
    plain = tensors.patterns(bright.scan, index, corners, shape)
    assert plain.mask is None and plain.background.ndim == 0, "what is not there costs no pass over memory"
