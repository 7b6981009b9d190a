"""Our files as other programs' read them: each by a reader of the published layout, written here."""

from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from ptychodose.errors import StudyError
from ptychodose.exchange import orientation, reading
from ptychodose.exchange.found import Told
from ptychodose.export import command, ptychodus, ptychopinn, source
from ptychodose.formats.h5 import write_arrays
from ptychodose.measured import result
from ptychodose.physics import simulate
from ptychodose.reconstruct.reconstructors import Reconstruction
from ptychodose.scans import cxi
from scenes import scene

PIXEL = scene().scan.pixel_m


@pytest.fixture
def files(tmp_path):
    """A scan and what `reconstruct` would write of it, were it without error."""
    scan = replace(scene().scan, nodes=None)
    cxi.write(tmp_path / "scan.cxi", scan, iter([scan.read().astype(np.uint32)]))
    said = {"arm": "map", "heldout_deviance": 0.2}
    result.write(tmp_path / "recon.h5", Reconstruction(scene().obj, weight=0.5), (scan, scan), said)
    return tmp_path


def export(folder, name, kind, out, **given):
    given = {key: folder / value for key, value in given.items()}
    words = {"file": folder / name, "kind": kind, "out": folder / out, "scan": None, "object": None, **given}
    assert command.export(SimpleNamespace(**words)) == 0
    return folder / out


# Ptychodus


def product(path):
    """Positions in object px, y then x, object, probe and attributes, as ptychodus's own reader and geometry have it:
    x_px = (x_m - center_x_m) / pixel_width_m + width / 2."""
    with h5py.File(path) as file:
        about, wave = dict(file.attrs), file["object"]
        assert wave.ndim == 3 and file["probe"].ndim == 4 and file["object_layer_spacing_m"].shape == (0,)
        assert len(file["loss_values"]) == len(file["loss_epochs"]) == 0
        places = [
            (file[f"probe_position_{axis}_m"][()] - wave.attrs[f"center_{axis}_m"]) / wave.attrs[f"pixel_{side}_m"]
            + wave.shape[number] / 2
            for axis, side, number in (("y", "height", 1), ("x", "width", 2))
        ]
        assert file["probe_position_indexes"][()].tolist() == list(range(len(places[0])))
        assert file["probe"].attrs["pixel_width_m"] == file["probe"].attrs["pixel_height_m"] == pytest.approx(PIXEL)
        return np.stack(places, -1), wave[0], file["probe"][0], about


def test_ptychodus_finds_object_probe_and_positions_upright_and_in_metres(files):
    places, obj, probe, about = product(export(files, "recon.h5", "ptychodus", "p.h5"))
    scan = scene().scan
    assert np.allclose(places, scan.positions, atol=1e-6) and np.array_equal(obj, scene().obj)
    expected = simulate.expected_counts(obj, probe, places)
    assert np.allclose(expected, scan.expected(scene().obj), rtol=1e-3, atol=1e-4), "the patterns follow from the file"
    assert about["probe_energy_eV"] == 8800 and about["detector_object_distance_m"] == 1.0
    assert about["probe_photon_count"] == pytest.approx(scan.incident, rel=1e-6)
    assert about["exposure_time_s"] == about["mass_attenuation_m2_kg"] == about["tomography_angle_deg"] == 0
    assert about["name"] == "recon" and isinstance(about["comments"], str), "texts that str() leaves as they are"
    with h5py.File(files / "p.h5") as file:
        assert np.ptp(file["probe_position_y_m"]) == pytest.approx(np.ptp(scan.positions[:, 0]) * PIXEL, rel=1e-6)


def test_what_a_file_of_a_stage_lacks_comes_from_the_scan_or_is_named(files):
    write_arrays(files / "dense.h5", {"obj": scene().obj}, {"pixel_m": PIXEL})
    with pytest.raises(StudyError, match=r"does not hold probe, positions, geometry; give --scan"):
        export(files, "dense.h5", "ptychodus", "p.h5")
    assert not (files / "p.h5").exists()
    places, obj, _, _ = product(export(files, "dense.h5", "ptychodus", "p.h5", scan="scan.cxi"))
    assert np.allclose(places, scene().scan.positions, atol=1e-6) and np.array_equal(obj, scene().obj)
    write_arrays(files / "other.h5", {"obj": scene().obj[1:]})
    with pytest.raises(StudyError, match=r"give the scan that it was made of"):
        export(files, "other.h5", "ptychodus", "p.h5", scan="scan.cxi")
    write_arrays(files / "finer.h5", {"obj": scene().obj}, {"pixel_m": PIXEL / 2})
    with pytest.raises(StudyError, match="its pixel is"):
        export(files, "finer.h5", "ptychodus", "p.h5", scan="scan.cxi")


def test_found_positions_and_modes_go_out_not_those_recorded(files):
    scan = replace(scene().scan, nodes=None)
    found = replace(scan, positions=scan.positions + 0.3, probe=np.concatenate([scan.probe, 0.1 * scan.probe[:, ::-1]]))
    result.write(files / "found.h5", Reconstruction(scene().obj), (scan, found), {})
    places, _, probe, _ = product(export(files, "found.h5", "ptychodus", "p.h5", scan="scan.cxi"))
    assert np.allclose(places, found.positions, atol=1e-6) and np.array_equal(probe, found.probe)


def test_our_own_import_takes_the_product_back(files):
    np.save(files / "patterns.npy", scene().scan.read())
    out = export(files, "recon.h5", "ptychodus", "p.h5")
    assert reading.detected(out) == "ptychodus"
    taken = reading.read(out, Told(patterns=files / "patterns.npy"))
    assert np.allclose(taken.positions, scene().scan.positions, atol=1e-6) and np.array_equal(taken.obj, scene().obj)
    assert taken.geometry.energy_ev == 8800 and taken.geometry.detector_pixel_m == pytest.approx(172e-6, rel=1e-4)
    assert orientation.verdict(orientation.residuals(taken))[1]


# PtychoPINN


def test_ptychopinn_s_npz_comes_back_and_predicts_its_patterns(files):
    taken = reading.read(export(files, "scan.cxi", "ptychopinn", "s.npz", object="recon.h5"), Told())
    scan = scene().scan
    assert np.array_equal(taken.counts, scan.read()) and np.allclose(taken.positions, scan.positions)
    assert np.array_equal(taken.probe, scan.probe) and np.array_equal(taken.obj, scene().obj)
    assert orientation.verdict(orientation.residuals(taken))[1]
    plain = np.load(export(files, "scan.cxi", "ptychopinn", "t.npz"))
    assert plain["diffraction"].dtype == np.float32 and plain["scan_index"].tolist() == [0] * 88
    assert plain["probeGuess"].shape == (64, 64) and "objectGuess" not in plain
    assert np.array_equal(plain["xcoords_start"], plain["xcoords"])


def test_what_ptychopinn_s_format_cannot_hold_is_said(tmp_path):
    scan = scene(background=0.5, mask=np.arange(4096).reshape(64, 64) > 1).scan
    two = replace(scan, probe=np.concatenate([0.1 * scan.probe[:, ::-1], scan.probe]))
    said = ptychopinn.write(tmp_path / "s.npz", two, None)
    assert [line.split(":")[0] for line in said] == ["probeGuess", "background", "mask"]
    assert "99.0%" in said[0] and "0.5 counts" in said[1] and "2 bad" in said[2]
    assert np.array_equal(np.load(tmp_path / "s.npz")["probeGuess"], scan.probe[0]), "the brightest"


def test_an_object_of_another_scan_is_refused(tmp_path):
    some = source.Solution(tmp_path / "r.h5", scene().obj[1:], None, None, None, None)
    with pytest.raises(StudyError, match="its object is"):
        ptychopinn.write(tmp_path / "s.npz", scene().scan, some)
    moved = replace(some, obj=scene().obj, positions=scene().scan.positions[:5])
    with pytest.raises(StudyError, match="not those of this scan"):
        ptychopinn.write(tmp_path / "s.npz", scene().scan, moved)
    assert not (tmp_path / "s.npz").exists()


# Pictures


def test_a_tiff_has_amplitude_phase_and_the_size_of_a_pixel(files):
    path = export(files, "recon.h5", "tiff", "r.tif")
    with tifffile.TiffFile(path) as file:
        amplitude, phase = (page.asarray() for page in file.pages)
        numerator, denominator = file.pages[1].tags["XResolution"].value
        assert file.pages[0].tags["ResolutionUnit"].value == 3, "centimetres"
        assert 0.01 * denominator / numerator == pytest.approx(PIXEL, rel=1e-5)
        assert "12.799 nm" in file.pages[0].description and "Software" not in file.pages[0].tags
        assert "DateTime" not in file.pages[0].tags
    assert amplitude.dtype == phase.dtype == np.float32
    turned = amplitude * np.exp(1j * phase)
    assert np.allclose(amplitude, np.abs(scene().obj), atol=1e-6)
    assert np.abs((turned / scene().obj).std()) < 1e-4, "the phase, but for a constant"


def test_a_picture_shows_what_positions_enclose(files):
    first = export(files, "recon.h5", "png", "r.png").read_bytes()
    with Image.open(files / "r.png") as image:
        assert image.size == (1000, 480)
    write_arrays(files / "dense.h5", {"obj": scene().obj}, {"pixel_m": PIXEL})
    assert export(files, "dense.h5", "png", "whole.png").read_bytes() != first
    assert export(files, "dense.h5", "png", "same.png", scan="scan.cxi").read_bytes() == first


# All of them


@pytest.mark.parametrize(
    ("name", "kind", "out"),
    [("recon.h5", "ptychodus", "a.h5"), ("scan.cxi", "ptychopinn", "a.npz"), ("recon.h5", "tiff", "a.tif"),
     ("recon.h5", "png", "a.png")],
)  # fmt: skip
def test_the_same_input_gives_the_same_bytes(files, name, kind, out):
    first = export(files, name, kind, out).read_bytes()
    assert export(files, name, kind, out).read_bytes() == first


def test_a_bad_word_of_the_command_is_one_line(files):
    (files / "text.h5").write_text("no HDF5")
    (files / "blocked").write_text("a file")
    write_arrays(files / "probe.h5", {"probe": scene().scan.probe})
    write_arrays(files / "real.h5", {"obj": np.ones((20, 20))})
    write_arrays(files / "far.h5", {"obj": scene().obj, "positions": np.array([[1e9, 3.0]])})
    write_arrays(files / "mad.h5", {"obj": scene().obj}, {"pixel_m": -1.0})
    for name, kind, out, given, reason in (
        ("recon.h5", "tiff", "a.png", {}, "end its name in .tif"),
        ("recon.h5", "ptychodus", "recon.h5", {}, "is what would be read"),
        ("scan.cxi", "tiff", "a.tif", {}, "reconstruct it first"),
        ("recon.h5", "ptychopinn", "a.npz", {}, "make it anew"),
        ("recon.h5", "tiff", "a.tif", {"object": "recon.h5"}, "--object: has no place"),
        ("scan.cxi", "ptychopinn", "a.npz", {"scan": "scan.cxi"}, "--scan: has no place"),
        ("recon.h5", "tiff", "blocked/x/a.tif", {}, "name another place"),
        ("absent.h5", "tiff", "a.tif", {}, "not readable"),
        ("text.h5", "tiff", "a.tif", {}, "not readable"),
        ("probe.h5", "tiff", "a.tif", {}, "no object `obj`"),
        ("real.h5", "tiff", "a.tif", {}, "no object `obj`"),
        ("far.h5", "tiff", "a.tif", {}, "leaves the object"),
        ("mad.h5", "tiff", "a.tif", {}, "'pixel_m'"),
    ):
        with pytest.raises(StudyError, match=reason) as caught:
            export(files, name, kind, out, **given)
        assert ("\n" not in str(caught.value) and str(files) in str(caught.value)) or "has no place" in reason, name
    assert not [file for file in files.iterdir() if file.name.startswith(("a.", "."))]


def test_the_product_needs_all_and_names_what_is_missing(tmp_path):
    bare = source.Solution(tmp_path / "r.h5", scene().obj, scene().scan.probe, None, None, PIXEL)
    with pytest.raises(StudyError, match="does not hold positions, geometry; give --scan"):
        ptychodus.write(tmp_path / "p.h5", bare)
