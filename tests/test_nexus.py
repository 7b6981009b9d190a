"""What NeXus viewers show when they open a file: the chain of `default`, followed here by its published rules."""

from dataclasses import replace

import h5py
import numpy as np

from ptychodose.formats.h5 import read_arrays, write_arrays
from ptychodose.integrity import values
from ptychodose.scans import cxi
from scenes import scene


def plain(value):
    """Text of an attribute, or a list of texts."""
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else [plain(item) for item in value]


def shown(path):
    """The signal, its axes by name (values, unit), further signals: of the NXdata that `default` leads to."""
    with h5py.File(path) as file:
        group, classes = file, [plain(file.attrs["NX_class"])]
        while classes[-1] != "NXdata":
            group = group[plain(group.attrs["default"])]
            classes.append(plain(group.attrs["NX_class"]))
        assert classes == ["NXroot", "NXentry", "NXdata"]
        signal, names = group[plain(group.attrs["signal"])][()], plain(group.attrs["axes"])
        axes = {name: (group[name][()], plain(group[name].attrs["units"])) for name in names if name != "."}
        assert len(names) == signal.ndim
        for name, (values, _) in axes.items():
            assert len(values) == signal.shape[names.index(name)]
        more = [group[name][()] for name in plain(group.attrs.get("auxiliary_signals", []))]
        return signal, axes, more


def test_an_object_is_shown_as_amplitude_and_phase_in_nanometres(tmp_path):
    obj, path = scene().obj, tmp_path / "o.h5"
    write_arrays(path, {"obj": obj, "probe": scene().scan.probe, "train/index": np.arange(3)}, {"pixel_m": 2e-8})
    amplitude, axes, (phase,) = shown(path)
    assert (
        amplitude.dtype == np.float32
        and np.allclose(amplitude, np.abs(obj))
        and np.allclose(phase, np.angle(obj), atol=6e-5)
    )
    assert axes["y"][1] == axes["x"][1] == "nm" and np.allclose(axes["y"][0], 20 * np.arange(len(obj)))
    with h5py.File(path) as file:
        assert plain(file["train"].attrs["NX_class"]) == "NXcollection"
    write_arrays(path, {"obj": obj})
    assert shown(path)[1]["x"][1] == "px", "where the pixel is not known"


def test_a_probe_is_shown_mode_by_mode_where_there_is_no_object(tmp_path):
    probe = np.repeat(scene().scan.probe, 3, 0)
    write_arrays(tmp_path / "p.h5", {"probe": probe, "mask": np.zeros((64, 64))})
    amplitude, axes, _ = shown(tmp_path / "p.h5")
    assert np.allclose(amplitude, np.abs(probe), rtol=1e-6) and set(axes) == {"y", "x"}


def test_a_scan_shows_its_counts(tmp_path):
    scan = replace(scene().scan, nodes=None)
    cxi.write(tmp_path / "s.cxi", scan, iter([scan.read().astype(np.uint32)]))
    assert np.array_equal(shown(tmp_path / "s.cxi")[0], scan.read())
    with cxi.dataset(tmp_path / "s.cxi") as read:
        assert np.array_equal(read.read(), scan.read()), "our reader passes over it"


def test_our_reader_passes_over_what_viewers_are_shown_and_bytes_repeat(tmp_path):
    made = {"obj": scene().obj, "groups/a": np.arange(4)}
    write_arrays(tmp_path / "o.h5", made, {"pixel_m": 1e-8})
    arrays, attributes = read_arrays(tmp_path / "o.h5", "remake")
    assert arrays.keys() == made.keys() and attributes == {"pixel_m": 1e-8}
    first = (tmp_path / "o.h5").read_bytes()
    write_arrays(tmp_path / "o.h5", made, {"pixel_m": 1e-8})
    assert (tmp_path / "o.h5").read_bytes() == first
    assert len(first) < 2.1 * scene().obj.nbytes + 20_000, "as much again as the object, and no more"


def test_a_phase_that_turns_by_two_pi_is_no_difference_between_two_copies(tmp_path):
    """Rounding decides between pi and -pi; the object itself is compared all the same."""
    obj = np.full((4, 4), -1 + 1e-9j, np.complex64)
    found = []
    for number, wave in enumerate((obj, obj.conj(), 2 * obj)):
        write_arrays(tmp_path / f"{number}.h5", {"obj": wave})
        found.append(values._hdf5((tmp_path / f"{number}.h5").read_bytes()))
    assert np.allclose(found[0]["values of obj"], found[1]["values of obj"])
    assert found[0].keys() == found[1].keys() and not any("entry/" in name for name in found[0])
    assert not np.allclose(found[0]["values of obj"], found[2]["values of obj"])
