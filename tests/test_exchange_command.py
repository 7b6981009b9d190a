"""The command `import`: formats detected or refused in one line, and the way to a scan that DVC tracks."""

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import foreign
import samples
from ptychodose.errors import StudyError
from ptychodose.exchange import command, ptychopinn, reading
from ptychodose.exchange.found import Told
from ptychodose.experiment import start
from ptychodose.scans import cxi
from scenes import ROOT

T = foreign.truth()
LENGTHS = ("--energy-ev", 8800, "--distance-m", 1, "--pixel-um", 75)


def run(*words):
    """The command in this process."""
    parser = argparse.ArgumentParser()
    command.add_options(parser.add_subparsers(), Path)
    options = parser.parse_args(["import", *map(str, words)])
    return options.run(options)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"diffraction": None}, "'diffraction' is missing"),
        ({"xcoords": None}, "'xcoords' is missing"),
        ({"ycoords": np.arange(7.0), "xcoords": np.arange(7.0)}, "for 7 positions"),
        ({"ycoords": np.arange(7.0)}, "differ"),
        ({"ycoords": np.full(88, np.nan)}, "not finite"),
        ({"ycoords": np.full(88, 1e9)}, "save metres or pixels"),
        ({"diffraction": np.ones((88, 64))}, "is not"),
        ({"diffraction": np.ones((88, 64, 88)), "probeGuess": None}, "--pattern-axis"),
        ({"diffraction": T.counts + 0j}, "no patterns"),
        ({"diffraction": np.sqrt(T.counts) / 7}, "counts-per-unit"),
        ({"probeGuess": np.ones((32, 32), np.complex64)}, "does not fit"),
        ({"objectGuess": np.ones(5)}, "no image"),
        ({"objectGuess": np.array([None])}, "pickled"),
    ],
)
def test_a_file_that_is_missing_something_or_ambiguous_is_refused_in_one_line(tmp_path, changes, reason):
    with pytest.raises(StudyError, match=reason) as caught:
        reading.read(foreign.ptychopinn(tmp_path / "scan.npz", T, **changes), Told())
    assert "\n" not in str(caught.value)


def test_a_file_without_a_probe_gets_one_that_its_counts_tell(tmp_path, monkeypatch, capsys):
    """Which start wins is tested in test_start.py."""
    asked = []

    def probe_from(scan, settings, others):
        asked.append((len(scan), scan.positions - scan.positions.min(0)))
        assert not others
        return start.Start(T.probe, "focus spread to +0.06 of the window", 12.3, {"a": 1.0, "b": 2.0})

    monkeypatch.setattr(start, "probe_from", probe_from)
    out = tmp_path / "scan.cxi"
    assert run(foreign.ptychopinn(tmp_path / "scan.npz", T, probeGuess=None), *LENGTHS, "--out", out) == 0
    ((number, places),) = asked
    assert number == len(T.counts) and places == pytest.approx(T.positions - T.positions.min(0), abs=1e-6)
    with cxi.dataset(out) as scan:
        assert np.abs(np.vdot(scan.probe, T.probe)) == pytest.approx(
            np.linalg.norm(scan.probe) * np.linalg.norm(T.probe)
        )
    said = capsys.readouterr().out
    assert "probe: the file has none" in said and "+0.06" in said and "12.3 nats per pattern likelier" in said


def test_a_zone_plate_that_is_known_is_one_more_start_and_means_nothing_beside_a_probe(tmp_path, monkeypatch, capsys):
    plate, out = ROOT / "data/base/synthetic.yaml", tmp_path / "scan.cxi"

    def probe_from(scan, settings, others):
        ((name, probe),) = others.items()
        return start.Start(probe.astype(np.complex64)[None], name, 1.0, {name: 1.0})

    monkeypatch.setattr(start, "probe_from", probe_from)
    without = foreign.ptychopinn(tmp_path / "scan.npz", T, probeGuess=None)
    assert run(without, *LENGTHS, "--out", out, "--zone-plate", plate) == 0
    assert "synthetic.yaml; 1 nats" in capsys.readouterr().out
    with cxi.dataset(out) as scan:
        spread = scan.diameter * scan.pixel_m
    assert 0.2e-6 < spread < 0.5e-6, "NA 2 x 60.5 um: 0.29 um across, whatever the geometry of the scan"
    with pytest.raises(StudyError, match="has a probe of its own"):
        run(foreign.ptychopinn(tmp_path / "own.npz", T), "--zone-plate", plate)


def test_what_another_program_keeps_apart_is_asked_for_by_its_flag(tmp_path):
    for path, flag in (
        (foreign.product(tmp_path / "p.h5", T), "--patterns"),
        (foreign.ptychonn(tmp_path / "n.npz", T), "--positions"),
        (foreign.ptyr(tmp_path / "r.ptyr", T), "--product"),
        (foreign.cxi(tmp_path / "c.cxi", T, distance=None), "--distance-m"),
        (foreign.cxi(tmp_path / "e.cxi", T, energy=6e9 * 1.6e-19), "--energy-ev"),
    ):
        with pytest.raises(StudyError, match=flag) as caught:
            reading.read(path, Told())
        assert "\n" not in str(caught.value)
    np.save(tmp_path / "p.npy", T.positions)
    with pytest.raises(StudyError, match="drop --positions"):
        reading.read(foreign.ptychopinn(tmp_path / "a.npz", T), Told(positions=tmp_path / "p.npy"))


def test_a_flag_that_the_format_has_no_use_for_is_refused(tmp_path):
    path = foreign.cxi(tmp_path / "a.cxi", T)
    for told in (Told(product=path), Told(patterns=path), Told(pattern_axis="last")):
        with pytest.raises(StudyError, match=r"--(product|patterns|pattern-axis) means nothing for a file of cxi"):
            reading.read(path, told)


def test_an_object_of_another_pixel_than_its_geometry_is_refused(tmp_path):
    """As when a product was made of binned patterns."""
    path, patterns = foreign.product(tmp_path / "p.h5", T), foreign.patterns(tmp_path / "d.h5", T)
    with pytest.raises(StudyError, match=r"its geometry makes .* correct --energy-ev"):
        reading.read(path, Told(patterns=patterns, pixel_um=37.5))
    ptyd, ptyr = foreign.ptyd(tmp_path / "s.ptyd", T), foreign.ptyr(tmp_path / "s.ptyr", T)
    with pytest.raises(StudyError, match=r"its geometry makes"):
        reading.read(ptyd, Told(product=ptyr, distance_m=2.0))


def test_the_machines_energy_is_not_the_photons(tmp_path):
    path = foreign.nexus(tmp_path / "a.nxs", T, beam=None)
    with pytest.raises(StudyError, match="perhaps the machine's; give --energy-ev"):
        reading.read(path, Told())
    assert reading.read(path, Told(energy_ev=8800.0)).positions == pytest.approx(T.positions)


def test_the_user_is_right_about_lengths_and_the_output_says_so(tmp_path):
    got = reading.read(foreign.cxi(tmp_path / "a.cxi", T, object=None), Told(energy_ev=4400.0))
    assert got.geometry == replace(T.geometry, energy_ev=4400.0) and got.positions == pytest.approx(T.positions / 2)
    assert "energy 4400 eV (as you say)" in got.how[-1] and "distance 1 m (from the file)" in got.how[-1]


def test_what_is_no_known_kind_or_several_is_refused_and_format_decides(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("no scan")
    np.savez(tmp_path / "b.npz", other=np.ones(3))
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["x"] = 1.0
    for name in ("a.txt", "b.npz", "c.h5"):
        with pytest.raises(StudyError, match=r"not clearly a known kind.*--format ptychopinn or"):
            reading.read(tmp_path / name, Told())
    with pytest.raises(StudyError, match="not found"):
        reading.read(tmp_path / "absent", Told())
    both = foreign.ptychopinn(tmp_path / "d.npz", T, reciprocal=T.counts)
    with pytest.raises(StudyError, match="could be ptychopinn or ptychonn"):
        reading.read(both, Told())
    assert np.array_equal(reading.read(both, Told(), "ptychopinn").counts, T.counts)
    assert ptychopinn.knows({"diffraction"}) and not ptychopinn.knows({"diffraction", "scan"})


def test_a_scan_of_our_own_needs_no_import(tmp_path):
    path = tmp_path / "train.cxi"
    cxi.write(path, samples.planned(), iter([np.arange(192, dtype=np.uint32).reshape(3, 8, 8)]))
    with pytest.raises(StudyError, match="needs no import"):
        reading.read(path, Told())


def test_the_check_stops_a_wrong_reading_and_names_the_flag(tmp_path, capsys):
    y, x = T.positions.T
    path = foreign.ptychopinn(tmp_path / "a.npz", T, ycoords=T.obj.shape[0] - y)
    with pytest.raises(StudyError, match="read it otherwise"):
        run(path, "--check", *LENGTHS, "--out", tmp_path / "a.cxi")
    assert "--orient flip-y" in capsys.readouterr().out and not (tmp_path / "a.cxi").exists()
    assert run(path, "--check", "--orient", "flip-y") == 0
    half = foreign.ptychopinn(tmp_path / "b.npz", T, ycoords=y - 0.5, xcoords=x - 0.5)
    assert run(half, "--check") == 0 and "WRONG: half a pixel off" in capsys.readouterr().out, "said, and harmless"


@pytest.mark.parametrize("words", [("--crop", 48), ("--pad", 96), ()])
def test_the_written_scan_is_the_files(tmp_path, capsys, words):
    data = T.counts.astype(np.int32)
    data[:, 3, 4] = -1
    out = tmp_path / "data" / "raw" / "scan.cxi"
    assert run(foreign.nexus(tmp_path / "a.nxs", T, data=data), *words, "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"next: dvc add {out} && git add {out}.dvc {out.parent}/.gitignore"
    assert lines[-1].startswith("then: python src/study.py reconstruct --scan")
    with cxi.dataset(out) as scan:
        size, middle = scan.size, scan.size // 2
        inside = slice(max(0, middle - 32), middle + 32)
        kept = slice(32 - min(32, middle), 32 + min(32, middle))
        assert size == (words[1] if words else 64) and scan.nodes is None
        whole = np.where(data < 0, 0, data)
        assert np.array_equal(scan.read()[:, inside, inside], whole[:, kept, kept])
        bad = {48: 0, 96: 96**2 - 64**2 + 1, 64: 1}[size]
        assert (~scan.mask).sum() == bad and any("size: 64 x 64" in line for line in lines) == bool(words)
        assert np.ptp(scan.positions * scan.pixel_m, axis=0) == pytest.approx(np.ptp(T.metres, axis=0))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--crop", 96), "--crop: 96 for patterns of 64 x 64"),
        (("--pad", 32), "--pad: 32 for patterns"),
        (("--crop", 33), "33 is not an even N"),
        (("--pad", 258), "258 is not an even N"),
        (("--energy-ev", "nan"), "--energy-ev: nan is not a positive number"),
        (("--pixel-um", -1), "not a positive number"),
        (("--patterns", "absent"), None),
    ],
)
def test_flags_that_cannot_be_are_refused(tmp_path, words, reason):
    path = foreign.cxi(tmp_path / "a.cxi", T)
    if reason is None:
        path, reason = foreign.product(tmp_path / "p.h5", T), "correct --patterns"
    with pytest.raises(StudyError, match=reason) as caught:
        run(path, *words, "--out", tmp_path / "out.cxi")
    assert "\n" not in str(caught.value) and not (tmp_path / "out.cxi").exists()


@pytest.mark.parametrize("side", [30, 258])
def test_a_size_that_no_arm_takes_asks_for_crop_or_pad(tmp_path, side):
    counts = np.zeros((88, side, side), np.uint16)
    middle = slice(side // 2 - 8, side // 2 + 8)
    counts[:, middle, middle] = T.counts[:, 24:40, 24:40]
    path = foreign.cxi(tmp_path / "a.cxi", T, data=counts, mask=None, probe=None, object=None)
    with pytest.raises(StudyError, match=r"--crop N or --pad N"):
        run(path)
    assert run(path, "--crop" if side > 256 else "--pad", 64) == 0


@pytest.mark.slow
def test_the_command_line_says_what_is_missing_in_one_line(tmp_path):
    path, out = foreign.ptychopinn(tmp_path / "scan.npz", T), tmp_path / "scan.cxi"
    words = [sys.executable, ROOT / "src/study.py", "import", path, "--out", out]
    bad = subprocess.run(words, capture_output=True, text=True)
    assert bad.returncode == 1 and bad.stderr.count("\n") == 1 and not out.exists()
    assert "--energy-ev, --distance-m, --pixel-um" in bad.stderr
