"""Bases: NPZ of every allowed kind load alike, everything else is refused in one line."""

import dataclasses
import re

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.physics import noise, overlap
from ptychodose.scans import acquisition, base
from ptychodose.study.settings import Generate
from scenes import ROOT

SETTINGS = Generate(
    source="simulate",
    scan="none",
    base="base.npz",
    energy_ev=8800,
    distance_m=1.0,
    detector_pixel_um=172.0,
    nodes_per_diameter=10,
)


def arrays(size=64, shape=(201, 143), dtype=np.complex64):
    rng = np.random.Generator(np.random.Philox(3))
    obj = (0.8 * np.exp(1j * rng.standard_normal(shape))).astype(dtype)
    y, x = np.indices((size, size)) - size / 2
    return {"objectGuess": obj, "probeGuess": np.exp(-(y**2 + x**2) / 200).astype(dtype)}


RECIPE = (
    "size: 64\nrows: 300\ncolumns: 120\nphase_std: 0.5\namplitude_std: 0.1\n"
    "probe: {outer_zone_width_nm: 29.26, central_stop: 0.4, defocus_um: 60.5, edge_px: 0.7}\n"
)


def load(tmp_path, content):
    path = tmp_path / "base.npz"
    np.savez(path, **content)
    return base.load(dataclasses.replace(SETTINGS, base=str(path)), noise.stream(0, "object"))


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_supported_sizes_and_types_with_an_odd_object(tmp_path, size, dtype):
    loaded = load(tmp_path, arrays(size, dtype=dtype))
    assert loaded.obj.shape == (201, 143) and loaded.obj.dtype == loaded.probe.dtype == np.complex64
    assert loaded.centres == ((size / 2, 201 - size / 2), (size / 2, 143 - size / 2))


def test_amplitude_above_one_is_scaled_down_without_touching_contrast(tmp_path):
    content = arrays()
    loaded = load(tmp_path, content | {"objectGuess": content["objectGuess"] * 3})
    assert np.abs(loaded.obj).max() == pytest.approx(1)
    assert np.angle(loaded.obj) == pytest.approx(np.angle(content["objectGuess"]), abs=1e-5)


def test_extra_keys_are_ignored_even_pickled_ones(tmp_path):
    load(tmp_path, arrays() | {"_metadata": np.array([{"a": 1}], dtype=object), "note": np.array("x")})


def test_positions_stay_inside_the_bases_own_scan(tmp_path):
    content = arrays() | {"xcoords": np.array([40.2, 100.0]), "ycoords": np.array([50.5, 150.0])}
    assert load(tmp_path, content).centres == ((50.5, 150.0), (40.2, 100.0))


def changed(**changes):
    made = arrays()
    for key, change in changes.items():
        made[key] = change(made[key])
    return made


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"probeGuess": arrays()["probeGuess"]}, "objectGuess.*missing"),
        (changed(objectGuess=np.abs), "not complex"),
        (changed(probeGuess=lambda p: p[:60]), "supported are"),
        (changed(probeGuess=lambda p: p[:60, :60]), "supported are"),
        (changed(objectGuess=lambda o: o[:64]), "larger"),
        (changed(objectGuess=lambda o: o * np.nan), "NaN"),
        (changed(probeGuess=lambda p: p * 0), "zeros"),
        (changed(objectGuess=lambda o: o[None].repeat(2, 0)), r"objectGuess has shape .*expected .*\(H, W\)"),
        (changed(probeGuess=lambda p: p[None].repeat(17, 0)), "M <= 16"),
        (changed(objectGuess=lambda o: o.astype(object)), "pickled"),
        (arrays() | {"xcoords": np.array([np.nan]), "ycoords": np.array([1.0])}, "xcoords|ycoords"),
    ],
)
def test_unusable_bases_are_refused_in_one_line(tmp_path, content, words):
    with pytest.raises(StudyError, match=words) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value) and "base.npz" in str(caught.value)


def test_absent_truncated_and_foreign_files(tmp_path):
    path = tmp_path / "base.npz"
    settings = dataclasses.replace(SETTINGS, base=str(path))
    rng = noise.stream(0, "object")
    with pytest.raises(StudyError, match="not found"):
        base.load(settings, rng)
    np.savez(path, **arrays())
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(StudyError, match=r"truncated|damaged"):
            base.load(settings, rng)
    with pytest.raises(StudyError, match="neither"):
        base.load(dataclasses.replace(SETTINGS, base="base.mat"), rng)


def test_a_recipe_repeats_with_its_seed_and_names_a_bad_key(tmp_path):
    path = tmp_path / "recipe.yaml"
    text = RECIPE
    path.write_text(text)
    settings = dataclasses.replace(SETTINGS, base=str(path))
    first, again = (base.load(settings, noise.stream(4, "object")).obj for _ in range(2))
    other = base.load(settings, noise.stream(5, "object")).obj
    assert (first == again).all() and (first != other).any()
    path.write_text(text.replace("size: 64", "size: 63"))
    with pytest.raises(StudyError, match=r"63 is not one of 64, 128; did you mean"):
        base.load(settings, noise.stream(4, "object"))
    path.write_text(text + "colums: 3\n")
    with pytest.raises(StudyError, match="'columns'"):
        base.load(settings, noise.stream(4, "object"))


# Recipes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"energy_ev": 8.8}, "generate.energy_ev 3.85e+03 to 6.16e+04"),
        ({"energy_ev": 88}, "radius of 1.4e+03 detector pixels, and 2 to 32 fit N = 64"),
        ({"distance_m": 100}, "generate.distance_m 0.143 to 2.29"),
        ({"detector_pixel_um": 0.172}, "generate.detector_pixel_um 75.2 to 1.2e+03"),
    ],
)
def test_a_geometry_under_which_no_probe_fits_is_refused_with_what_works(changes, words):
    recipe = dataclasses.replace(SETTINGS, base=str(ROOT / "data/base/synthetic.yaml"))
    base.load(recipe, noise.stream(0, "object"))
    with pytest.raises(StudyError) as caught:
        base.load(dataclasses.replace(recipe, **changes), noise.stream(0, "object"))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("outer_zone_width_nm", 2, "probe.outer_zone_width_nm 12.8 to 205"),
        ("defocus_um", 300, "spreads the probe to"),
        ("defocus_um", 5000, "spreads the probe to"),
        ("defocus_um", -1e6, "usable is up to 121"),
        (
            "central_stop",
            0.9999999999999999,
            "zone plate: its pupil of 14 detector pixels in radius, less the stop, sends no",
        ),
    ],
)
def test_a_recipe_whose_probe_does_not_fit_its_window_is_refused(key, value, words, tmp_path):
    text = (ROOT / "data/base/synthetic.yaml").read_text()
    line = next(line for line in text.splitlines() if key in line)
    (tmp_path / "r.yaml").write_text(text.replace(line, f"  {key}: {value}"))
    with pytest.raises(StudyError) as caught:
        base.load(dataclasses.replace(SETTINGS, base=str(tmp_path / "r.yaml")), noise.stream(0, "object"))
    assert words in str(caught.value), caught.value


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("width", [14, 29.26, 100])
def test_the_defocus_that_is_named_works_and_one_that_folds_back_into_a_narrow_probe_is_found(width, sign, tmp_path):
    """Beyond the window the phase of the defocus is undersampled: at some of them the probe looks sharp again."""
    text = RECIPE.replace("29.26", str(width))

    def made(defocus):
        (tmp_path / "r.yaml").write_text(text.replace("60.5", f"{sign * defocus}"))
        return base.load(dataclasses.replace(SETTINGS, base=str(tmp_path / "r.yaml")), noise.stream(0, "object")).probe

    for wrong in (0.5e6, 1e6):
        with pytest.raises(StudyError, match="usable is up to") as caught:
            made(wrong)
    usable = float(re.search(r"up to ([^,]+),", str(caught.value))[1])
    assert usable > 5
    for fits in (usable, 0.5 * usable, 0.0):
        assert overlap.encircled_diameter(made(fits)) <= base.WIDEST * 64
    with pytest.raises(StudyError):
        made(1.6 * usable)


@pytest.mark.filterwarnings("error")
def test_a_hard_edge_is_drawn_without_a_warning(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE.replace("edge_px: 0.7", "edge_px: 1e-6"))
    assert base.load(
        dataclasses.replace(SETTINGS, base=str(tmp_path / "r.yaml")), noise.stream(0, "object")
    ).probe.any()


# From a base to a scan


def test_an_object_that_is_opaque_in_one_half_is_refused(tmp_path):
    content = arrays(shape=(301, 201))
    content["objectGuess"][120:] = 0
    made = load(tmp_path, content)
    with pytest.raises(StudyError, match=r"opaque where the test half lies \(rows \d+ to \d+\)"):
        acquisition.plan(made, SETTINGS, 1e4, 1)


@pytest.mark.parametrize("width", [200, 2e4])
def test_counts_beyond_what_a_file_holds_are_refused_and_the_largest_dose_works(tmp_path, width):
    content = arrays(shape=(301, 201))
    y, x = np.indices((64, 64)) - 32
    content["probeGuess"] = np.exp(-(y**2 + x**2) / width).astype(np.complex64)
    made = load(tmp_path, content)
    scan = acquisition.plan(made, SETTINGS, 1e12, 1)["test"]
    with pytest.raises(StudyError, match=r"dose: 1e\+12 photons per pattern are .* largest usable value") as caught:
        next(acquisition.counts(made.obj, scan, noise.stream(1, "noise/test")))
    usable = float(str(caught.value).rpartition(": ")[2])
    for dose, fits in ((usable, True), (1.12 * usable, False)):
        scan = acquisition.plan(made, SETTINGS, dose, 1)["test"]
        expected = scan.expected(made.obj).max()
        assert (expected <= noise.BRIGHTEST) == fits
        if fits:
            (first, *_) = acquisition.counts(made.obj, scan, noise.stream(1, "noise/test"))
            assert abs(int(first.max()) - expected) < 0.1 * expected
