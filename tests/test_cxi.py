"""The CXI dataset: round trip, standard entries in SI units, every inconsistency refused."""

import dataclasses
import time

import h5py
import numpy as np
import pytest

import samples
from ptychodose.errors import StudyError
from ptychodose.scans import cxi

DATA, TRANSLATION = "entry_1/instrument_1/detector_1/data", "entry_1/sample_1/geometry_1/translation"


def header(number=5, size=64, modes=1):
    rng = np.random.Generator(np.random.Philox(0))
    return dataclasses.replace(
        samples.planned(number, size),
        positions=rng.uniform(32, 60, (number, 2)),
        probe=(rng.standard_normal((modes, size, size)) + 1j).astype(np.complex64),
        background=rng.uniform(0, 0.01, (size, size)),
        shape=(100, 97),
    )


def counts(number=5, size=64):
    return np.random.Generator(np.random.Philox(1)).poisson(0.2, (number, size, size)).astype(np.uint32)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "train.cxi"
    cxi.write(path, header(), iter([counts()[:2], counts()[2:]]))
    return path


@pytest.mark.parametrize("modes", [1, 3])
def test_round_trip(tmp_path, modes):
    path, given = tmp_path / "train.cxi", header(modes=modes)
    cxi.write(path, given, iter([counts()[:2], counts()[2:]]))
    with cxi.dataset(path) as read:
        assert (read.counts[()] == counts()).all() and read.counts.dtype == np.uint32
        assert (read.read() == counts() * given.mask).all(), "masked pixels are read as zero"
        wanted = (counts() * given.mask).sum() / 5 - given.background[given.mask].sum()
        assert read.signal == pytest.approx(wanted)
        assert read.geometry == given.geometry and read.shape == given.shape and read.dose == given.dose
        assert read.nodes.pitch == given.nodes.pitch and (read.nodes.index == given.nodes.index).all()
        for name in ("positions", "probe", "background", "mask"):
            assert np.asarray(getattr(read, name)) == pytest.approx(np.asarray(getattr(given, name)), rel=1e-12), name


def test_the_file_says_a_bad_pixel_by_one(path):
    with h5py.File(path) as file:
        assert (file["entry_1/instrument_1/detector_1/mask"][()] == ~header().mask).all()


def test_a_scan_that_drowns_in_its_background_is_not_written(tmp_path):
    dark = dataclasses.replace(header(), background=np.full((64, 64), 0.5))
    with pytest.raises(StudyError, match=r"generate\.background: .* raise dose") as caught:
        cxi.write(tmp_path / "train.cxi", dark, iter([counts()]))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_file_of_the_first_schema_had_no_background(path):
    clean = dataclasses.replace(header(), background=np.zeros((64, 64)))
    cxi.write(path, clean, iter([counts()]))
    with h5py.File(path, "r+") as file:
        del file["ptychodose/background"]
        file["ptychodose"].attrs["schema"] = 1
        file[TRANSLATION][...] *= -1
    with cxi.dataset(path) as read:
        assert not read.background.any() and read.signal == pytest.approx((counts() * clean.mask).sum() / 5)
        assert read.positions == pytest.approx(clean.positions)


def test_a_file_of_the_second_schema_moved_the_other_way(path):
    with h5py.File(path, "r+") as file:
        file["ptychodose"].attrs["schema"] = 2
        file[TRANSLATION][...] *= -1
    with cxi.dataset(path) as read:
        assert read.positions == pytest.approx(header().positions)


def test_a_measured_scan_has_no_lattice_and_a_simulated_one_must_say_its_own(tmp_path, path):
    measured = tmp_path / "measured.cxi"
    cxi.write(measured, dataclasses.replace(header(), nodes=None), iter([counts()]))
    with cxi.dataset(measured) as read:
        assert read.nodes is None and read.positions == pytest.approx(header().positions)
    for schema, name in ((2, "nodes"), (3, "pitch")):
        with h5py.File(path, "r+") as file:
            file["ptychodose"].attrs["schema"] = schema
            if name == "nodes":
                kept = file["ptychodose/nodes"][()]
                del file["ptychodose/nodes"]
            else:
                file["ptychodose/nodes"] = kept
                del file["ptychodose"].attrs["pitch"]
        with pytest.raises(StudyError, match=name), cxi.dataset(path):
            pass


def test_whoever_asks_says_what_to_do_about_a_bad_file(path):
    path.write_bytes(b"")
    with pytest.raises(StudyError, match="call the beamline"), cxi.dataset(path, "call the beamline"):
        pass


def test_equal_content_gives_equal_bytes(path, tmp_path):
    for number in range(3):
        dirt = [bytes([number]) * 10**6 for _ in range(9)]  # a compressor must not leak memory into the file
        time.sleep(0.4)  # nor may a clock: HDF5 keeps times in whole seconds
        other = tmp_path / f"other_name_{len(dirt)}.cxi"
        cxi.write(other, header(), iter([counts()]))
        assert other.read_bytes() == path.read_bytes()


def test_standard_entries_in_si_units_with_the_probe_s_translation(path):
    with h5py.File(path) as file:
        assert file["cxi_version"][()] == 160
        assert file["entry_1/data_1/data"].shape == (5, 64, 64)
        x, y, z = file["entry_1/data_1/translation"][()].T
        pixel = header().pixel_m
        assert y / pixel == pytest.approx(header().positions[:, 0]) and not z.any()
        assert x / pixel == pytest.approx(header().positions[:, 1])
        assert file["entry_1/instrument_1/source_1/energy"][()] == pytest.approx(8800 * 1.602176634e-19)


def entry(name):
    def change(file):
        del file[name]

    return change


def attribute(name, value):
    return lambda file: file["ptychodose"].attrs.__setitem__(name, value)


def values(name, make):
    def change(file):
        made = make(file[name][()])
        units = dict(file[name].attrs)
        del file[name]
        file[name] = made
        file[name].attrs.update(units)

    return change


@pytest.mark.parametrize(
    "change",
    [
        entry(DATA),
        entry(TRANSLATION),
        entry("entry_1/instrument_1/source_1/illumination"),
        entry("ptychodose"),
        attribute("schema", 4),
        entry("ptychodose/background"),
        values("ptychodose/background", lambda b: b - 1),
        values("ptychodose/background", lambda b: b * np.nan),
        values("entry_1/instrument_1/detector_1/mask", np.ones_like),
        attribute("shape", [10, 10]),
        values(DATA, lambda d: d.astype(np.float32)),
        values(DATA, lambda d: d.astype(np.int32)),
        values(DATA, lambda d: d[:3]),
        values(TRANSLATION, lambda d: d * np.nan),
        values(TRANSLATION, lambda d: d[:, :2]),
        values(TRANSLATION, lambda d: d * 10),
        values("entry_1/instrument_1/source_1/illumination", np.abs),
        lambda file: file["entry_1/instrument_1/source_1/energy"].attrs.__setitem__("units", "eV"),
        lambda file: (file.__delitem__(DATA), file.__setitem__(DATA, h5py.ExternalLink("/etc/passwd", "/x"))),
    ],
)
def test_inconsistent_files_are_refused_in_one_line(path, change):
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(StudyError, match=r"train\.cxi.*dvc repro generate") as caught, cxi.dataset(path):
        pass
    assert "\n" not in str(caught.value)


def test_edited_counts_contradict_the_stored_dose(path):
    with h5py.File(path, "r+") as file:
        file[DATA][0, 0, 0] += 1000
    with pytest.raises(StudyError, match="changed after"), cxi.dataset(path):
        pass


def test_truncated_and_absent(path, tmp_path):
    path.write_bytes(path.read_bytes()[:3000])
    for name in (path, tmp_path / "absent.cxi"):
        with pytest.raises(StudyError, match="not a readable HDF5"), cxi.dataset(name):
            pass


def test_counts_that_cannot_be_read_are_one_line(path, monkeypatch):
    def fail(*_):
        raise OSError("Can't read data\n(filter returned failure)")

    monkeypatch.setattr(cxi.Scan, "read", fail)
    with (
        pytest.raises(StudyError, match=r"train\.cxi: counts not readable.*dvc repro generate") as caught,
        cxi.dataset(path),
    ):
        pass
    assert str(caught.value).isprintable()


def test_units_stay_out_of_the_heap_on_which_hdf5_can_hang(path):
    assert b"GCOL" not in path.read_bytes()
    with h5py.File(path) as file:
        assert file["entry_1/instrument_1/detector_1/distance"].attrs["units"] == b"m"
