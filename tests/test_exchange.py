"""Other programs' files of one known scan: counts, positions, probe and object come back, whatever the format; a wrong
reading is seen; bad pixels, other sizes and the scan that is written."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

import foreign
from ptychodose.errors import StudyError
from ptychodose.exchange import found, orientation, pixels, reading
from ptychodose.exchange.found import Told
from ptychodose.physics.probes import Geometry
from scenes import scene

T = foreign.truth()
WRITERS = {
    "ptychopinn.npz": foreign.ptychopinn, "ptychonn.npz": foreign.ptychonn, "tike.npz": foreign.tike,
    "cxi.cxi": foreign.cxi, "nexus.nxs": foreign.nexus, "product.h5": foreign.product, "product.npz": foreign.product,
    "shelves.mat": foreign.matlab, "scan.ptyd": foreign.ptyd,
}  # fmt: skip
SAYS_LENGTHS = {"cxi.cxi", "nexus.nxs", "product.h5", "product.npz", "shelves.mat", "scan.ptyd"}


def beside(folder, name, t=T):
    """What the user must give with a file, and the files for that."""
    if name.startswith("product"):
        order = np.random.default_rng(0).permutation(len(t.counts))
        return Told(patterns=foreign.patterns(folder / "diffraction.h5", t, order))
    if name == "scan.ptyd":
        return Told(product=foreign.ptyr(folder / "scan.ptyr", t))
    if name == "ptychonn.npz":
        np.save(folder / "positions.npy", t.positions)
        return Told(positions=folder / "positions.npy")
    return Told()


def read(folder, name="ptychopinn.npz", told=None, **changes):
    path = WRITERS[name](folder / name, T, **changes)
    return reading.read(path, told or beside(folder, name))


@pytest.mark.parametrize("name", WRITERS)
def test_the_scan_comes_back_from_every_format(name, tmp_path):
    got = read(tmp_path, name)
    assert np.array_equal(got.counts, T.counts) and got.mask.all()
    assert got.positions == pytest.approx(T.positions, abs=1e-6)
    if name == "ptychonn.npz":
        assert got.probe is None and got.obj is None
    else:
        assert got.probe == pytest.approx(T.probe) and got.obj == pytest.approx(T.obj)
        line, right = orientation.verdict(orientation.residuals(got))
        assert right and "right" in line
    if name in SAYS_LENGTHS:
        assert vars(got.geometry) == pytest.approx(vars(T.geometry)) and not got.lacks
    else:
        assert got.lacks == ("--energy-ev", "--distance-m", "--pixel-um")
    said = "\n".join(got.how)
    assert all(word in said for word in ("format:", "values:", "zero frequency:", "positions:", "bad pixels: 0"))


def test_every_layout_of_ptychopinns_patterns_gives_the_same_scan(tmp_path):
    amplitude = np.sqrt(T.counts.astype(np.float32))
    for changes in (
        {"diffraction": np.moveaxis(amplitude, 0, -1)},
        {"diffraction": amplitude[..., None]},
        {"diffraction": None, "diff3d": amplitude},
        {"diffraction": T.counts},
        {"diffraction": np.fft.ifftshift(amplitude, axes=(1, 2))},
        {"objectGuess": None},
    ):
        got = read(tmp_path, **changes)
        assert np.array_equal(got.counts, T.counts) and np.array_equal(got.positions, T.positions)


def test_as_many_patterns_as_pixels_need_a_word_on_the_axes(tmp_path):
    few = replace(T, counts=T.counts[:64], positions=T.positions[:64])
    path = foreign.ptychopinn(tmp_path / "a.npz", few, diffraction=np.moveaxis(few.counts, 0, -1))
    with pytest.raises(StudyError, match="--pattern-axis"):
        reading.read(path, Told())
    assert np.array_equal(reading.read(path, Told(pattern_axis="last")).counts, few.counts)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".npy"])
def test_a_product_takes_its_patterns_by_index_from_any_file(tmp_path, suffix):
    some = np.array([5, 3, 80, 3])
    changes = {"probe_position_indexes": some}
    changes |= {f"probe_position_{a}_m": np.arange(4) * 1e-7 + i * 1e-8 for i, a in enumerate("xy")}
    path = foreign.product(tmp_path / "product.h5", T, **changes)
    patterns = foreign.patterns(tmp_path / f"patterns{suffix}", T)
    assert np.array_equal(reading.read(path, Told(patterns=patterns)).counts, T.counts[some])


@pytest.mark.parametrize(
    ("energy", "units"), [(8800 * 1.602176634e-19, None), (8.8, "keV"), (8800.0, "eV"), (8800 * 1.602176634e-19, "J")]
)
def test_photon_energies_of_a_cxi_file_are_read_by_their_units(tmp_path, energy, units):
    path = foreign.cxi(tmp_path / "a.cxi", T, {("energy", "units"): units} if units else None, energy=energy)
    assert reading.read(path, Told()).geometry.energy_ev == pytest.approx(8800)


@pytest.mark.parametrize("turn", [((0, -1, 0), (-1, 0, 0)), ((-1, 0, 0), (0, -1, 0)), ((0, 1, 0), (1, 0, 0))])
def test_translations_go_against_the_basis_vectors_of_the_detector(tmp_path, turn):
    """Slow and fast axis in space; the sample moves against the patch: translation = -row slow - column fast."""
    slow, fast = np.array(turn, float)
    moved = -T.metres[:, :1] * slow - T.metres[:, 1:] * fast
    path = foreign.cxi(tmp_path / "a.cxi", T, translation=moved)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/detector_1/basis_vectors"] = np.stack([slow, fast]).T * 75e-6
    assert reading.read(path, Told()).positions == pytest.approx(T.positions)


# Orientation


@pytest.mark.parametrize("turn", orientation.TURNS)
def test_a_wrong_reading_is_seen_and_named_and_mended_by_its_flag(tmp_path, turn):
    """On a square, so that all readings lie on the object."""
    square = np.ones((160, 160), np.complex64)
    square[: T.obj.shape[0], : T.obj.shape[1]] = T.obj
    wrong = orientation.turned(T.positions, square.shape, turn)
    changes = {"ycoords": wrong[:, 0], "xcoords": wrong[:, 1], "objectGuess": square}
    line, right = orientation.verdict(orientation.residuals(read(tmp_path, **changes)))
    assert not right and line.startswith(f"WRONG: {orientation.TURNS[turn]} (--orient {turn})")
    mended = read(tmp_path, told=Told(orient=turn), **changes)
    assert orientation.verdict(orientation.residuals(mended))[1]
    assert mended.positions == pytest.approx(T.positions)


@pytest.mark.parametrize("mistake", ["object conjugated", "half a pixel off"])
def test_other_mistakes_are_seen_too(tmp_path, mistake):
    got = read(tmp_path)
    half = {"positions": got.positions - 0.5}
    wrong = replace(got, **(half if mistake == "half a pixel off" else {"obj": got.obj.conj()}))
    line, right = orientation.verdict(orientation.residuals(wrong))
    assert not right and line.startswith(f"WRONG: {mistake}")


def test_bad_pixels_have_no_say_in_the_check(tmp_path):
    """A beam stop hides most of the light: what is left is predicted as well as before."""
    mask = np.zeros((64, 64), np.uint32)
    mask[24:40, 24:40] = 1
    residuals = orientation.residuals(read(tmp_path, "cxi.cxi", mask=mask))
    assert residuals["as read"] < 0.5 and orientation.verdict(residuals)[1]


@pytest.mark.parametrize("turn", orientation.TURNS)
def test_positions_without_an_object_turn_within_themselves(turn):
    again = orientation.turned(orientation.turned(T.positions, None, turn), None, turn)
    assert again == pytest.approx(T.positions)
    if turn != "swap":
        assert orientation.turned(T.positions, None, turn).min(0) == pytest.approx(T.positions.min(0))


def test_without_an_object_there_is_nothing_to_check_with(tmp_path):
    with pytest.raises(StudyError, match="reconstruct first"):
        orientation.residuals(read(tmp_path, objectGuess=None))


# Pixels


@pytest.mark.parametrize("marker", [-1, -2, 2**31 - 1, 2**16 - 1])
def test_pixels_that_hold_a_marker_in_all_patterns_are_bad_and_counted(tmp_path, marker):
    data = T.counts.astype(np.int32)
    data[:, 3, 5] = data[:, 40, 2] = marker
    got = read(tmp_path, "cxi.cxi", data=data)
    assert not got.mask[3, 5] and not got.mask[40, 2] and got.mask.sum() == 64 * 64 - 2
    assert not got.counts[:, ~got.mask].any() and any("2 by a marker" in line for line in got.how)
    assert np.array_equal(got.counts[:, got.mask], T.counts[:, got.mask])


def test_not_a_number_is_a_marker_and_a_files_mask_is_kept(tmp_path):
    data = T.counts.astype(np.float32)
    data[:, 1, 2] = np.nan
    mask = np.zeros((64, 64), np.uint32)
    mask[7, 8], mask[9, 9] = 4, 0x1000  # bad, and CXI's "has signal"
    got = read(tmp_path, "cxi.cxi", data=data, mask=mask)
    assert np.argwhere(~got.mask).tolist() == [[1, 2], [7, 8]]
    scan = found.to_scan(got, got.geometry)
    assert np.array_equal(scan.mask, got.mask) and scan.nuisances == {"mask"}


def test_an_inverted_mask_of_cxi_needs_the_users_word(tmp_path):
    mask = np.ones((64, 64), np.uint32)
    mask[7, 8] = 0
    with pytest.raises(StudyError, match="may be inverted"):
        read(tmp_path, "cxi.cxi", mask=mask)
    assert np.argwhere(~read(tmp_path, "cxi.cxi", Told(mask_good=1), mask=mask).mask).tolist() == [[7, 8]]


def test_a_corner_mask_moves_with_its_patterns(tmp_path):
    mask = np.ones((64, 64), np.uint8)
    mask[0, 1] = 0  # column 0, row 1 in MATLAB's order: beside zero frequency, which is in the corner
    got = read(tmp_path, "shelves.mat", fmask=mask)
    assert np.argwhere(~got.mask).tolist() == [[33, 32]]


def test_weights_of_ptypy_are_a_mask(tmp_path):
    weights = np.ones((64, 64))
    weights[5, 6] = 0
    got = read(tmp_path, "scan.ptyd", **{"meta/weight2d": weights})
    assert np.argwhere(~got.mask).tolist() == [[5, 6]]


@pytest.mark.parametrize("share", [0.3, 0.97])
def test_a_mask_of_unknown_sense_is_taken_by_its_majority_or_refused(tmp_path, share):
    mask = (np.arange(64 * 64).reshape(64, 64) % 100 < 100 * share).astype(np.uint8)
    if share < 0.9:
        with pytest.raises(StudyError, match="--mask-good 0 or 1"):
            read(tmp_path, "shelves.mat", fmask=mask)
    told = Told(mask_good=1) if share < 0.9 else Told()
    got = read(tmp_path, "shelves.mat", told, fmask=mask)
    assert got.mask.sum() == mask.sum()


@pytest.mark.parametrize("zero", ["centre", "corner"])
def test_the_user_says_where_zero_frequency_lies(tmp_path, zero):
    flat = np.random.default_rng(0).poisson(3.0, T.counts.shape)
    with pytest.raises(StudyError, match="--zero-frequency"):
        read(tmp_path, diffraction=flat)
    wanted = flat if zero == "centre" else np.fft.fftshift(flat, axes=(1, 2))
    assert np.array_equal(read(tmp_path, told=Told(zero=zero), diffraction=flat).counts, wanted)


def test_light_where_the_format_has_no_zero_frequency_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"usual here: corner.*--zero-frequency"):
        read(tmp_path, "tike.npz", data=T.counts)


# Other sizes


@pytest.mark.parametrize("size", [48, 96])
def test_another_size_keeps_zero_frequency_and_lengths(tmp_path, size):
    got = read(tmp_path, "cxi.cxi")
    made, line = pixels.resized(got, size)
    assert f"made {size} x {size}" in line and made.counts.shape == (88, size, size) and made.obj is None
    low, high = sorted((size // 2 - 32, 0))[0], min(size, 64) // 2
    middle, old = slice(size // 2 - high, size // 2 + high), slice(32 - high, 32 + high)
    assert np.array_equal(made.counts[:, middle, middle], T.counts[:, old, old]) and low <= 0
    assert made.mask.sum() == min(size, 64) ** 2 and not made.counts[:, ~made.mask].any()
    metres = made.positions * made.geometry.object_pixel(size)
    assert metres == pytest.approx(T.metres), "the object pixel has changed with the detector"
    scan = found.to_scan(made, made.geometry)
    assert scan.size == size and np.array_equal(scan.mask, made.mask)


def test_a_padded_scan_is_predicted_by_the_object_on_the_finer_grid(tmp_path):
    """Fourier interpolation of probe and object: what is inside the old detector stays."""
    big = scene(1e4)
    made, _ = pixels.resized(read(tmp_path, "cxi.cxi"), 128)
    far = np.abs(np.fft.fftshift(np.fft.fft2(made.probe[0], norm="ortho")))
    near = np.abs(np.fft.fftshift(np.fft.fft2(big.scan.probe[0], norm="ortho")))
    assert far[32:96, 32:96] == pytest.approx(near, abs=1e-3) and far[:32].max() < 1e-3
    assert np.abs(made.probe[0][::2, ::2]) * 2 == pytest.approx(np.abs(big.scan.probe[0]), abs=1e-3)


def test_odd_and_oblong_patterns_are_cut_about_their_zero_frequency(tmp_path):
    oblong = np.zeros((88, 81, 100), np.uint16)
    oblong[:, 40 - 32 : 40 + 32, 50 - 32 : 50 + 32] = T.counts
    got = read(tmp_path, "cxi.cxi", data=oblong, mask=None, probe=None, object=None)
    with pytest.raises(StudyError, match=r"81 x 100 px; give --crop N or --pad N"):
        found.check_size(got.counts.shape, "x")
    made, _ = pixels.resized(got, 64)
    assert np.array_equal(made.counts, T.counts) and made.positions == pytest.approx(T.positions)


# The scan


def test_the_scan_has_room_around_it_and_a_probe_in_photons(tmp_path):
    taken = read(tmp_path)
    scan = found.to_scan(taken, foreign.GEOMETRY)
    assert np.ptp(scan.positions, axis=0) == pytest.approx(np.ptp(taken.positions, axis=0))
    assert (scan.positions - 32 >= found.MARGIN).all()
    assert (scan.positions + 32 + found.MARGIN <= np.array(scan.shape)).all()
    moved = scan.positions - taken.positions
    assert moved == pytest.approx(np.rint(moved), abs=1e-9), "whole pixels: sub-pixel parts stay"
    assert scan.incident == pytest.approx(scene(1e4).scan.incident, rel=1e-5)
    tiny = found.to_scan(replace(taken, probe=taken.probe * 1e-3), foreign.GEOMETRY)
    assert tiny.incident == pytest.approx(tiny.signal, rel=1e-5), "a probe in other units"
    with pytest.raises(StudyError, match="probe"):
        found.to_scan(replace(taken, probe=None), Geometry(8800, 1.0, 75e-6))


@pytest.mark.parametrize(("times", "stays"), [(0.8, False), (1.0, True), (4.9, True), (5.1, False)])
def test_a_probe_is_in_photons_if_the_sample_can_have_left_so_many(times, stays):
    counts_ = np.ones((3, 64, 64), np.uint16)
    probe = np.full((1, 64, 64), times**0.5, np.complex64)  # times the photons that are counted
    made = found.in_photons(probe, counts_)
    assert (np.abs(made) ** 2).sum() == pytest.approx(4096 * (times if stays else 1), rel=1e-5)
