"""Bases: NPZ of every allowed kind load alike, everything else is refused in one line."""

import dataclasses
import re

import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.physics import noise, overlap
from ptychodose.scans import base
from ptychodose.study.settings import Generate

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


RECIPE = (
    "size: 64\nrows: 300\ncolumns: 120\nphase_std: 0.5\namplitude_std: 0.1\n"
    "probe: {outer_zone_width_nm: 29.26, central_stop: 0.4, defocus_um: 60.5, edge_px: 0.7}\n"
)


def load_recipe(path, text=RECIPE, **changes):
    path.write_text(text)
    return base.load(dataclasses.replace(SETTINGS, base=str(path), **changes), noise.stream(4, "object"))


WRONG = {"energy_ev": (8.8, 88, 9e5), "distance_m": (100, 0.01), "detector_pixel_um": (0.172, 1e4)}
WRONG |= {"outer_zone_width_nm": (2, 5000), "defocus_um": (6000, -1e6)}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_probe_that_does_not_fit_the_window_is_refused_with_the_range_that_works(tmp_path, key, value):
    path = tmp_path / "recipe.yaml"

    def made(number):
        if key in ("energy_ev", "distance_m", "detector_pixel_um"):
            return load_recipe(path, **{key: number})
        return load_recipe(path, re.sub(rf"{key}: [\d.]+", f"{key}: {number}", RECIPE))

    with pytest.raises(StudyError, match=rf"recipe.yaml: .* {key} {re.escape(f'{abs(value):g}')} \(") as caught:
        made(value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    low, high = map(float, re.search(rf"{key} \S+ \((\S+) to (\S+)\)", str(caught.value)).groups())
    for good in (low, high):
        assert 3 < overlap.encircled_diameter(made(good).probe) < 62, "what is named does work"
    for bad in (0.9 * low, 1.1 * high):
        if bad:
            with pytest.raises(StudyError, match="pupil"):
                made(bad)


def test_a_central_stop_that_leaves_no_light_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"recipe.yaml: no light .*; lower probe.central_stop"):
        load_recipe(tmp_path / "recipe.yaml", RECIPE.replace("0.4,", "0.999,").replace("edge_px: 0.7", "edge_px: 1e-6"))


def test_a_recipe_repeats_with_its_seed_and_names_a_bad_key(tmp_path):
    path = tmp_path / "recipe.yaml"
    first, again = (load_recipe(path).obj for _ in range(2))
    other = base.load(dataclasses.replace(SETTINGS, base=str(path)), noise.stream(5, "object")).obj
    assert (first == again).all() and (first != other).any()
    with pytest.raises(StudyError, match=r"63 is not one of 64, 128; did you mean"):
        load_recipe(path, RECIPE.replace("size: 64", "size: 63"))
    with pytest.raises(StudyError, match="'columns'"):
        load_recipe(path, RECIPE + "colums: 3\n")
