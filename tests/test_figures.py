"""Pictures: deterministic bytes, one colour scale per row, everything labelled."""

from dataclasses import replace

import numpy as np
import pytest

from ptychodose.compare import figures
from ptychodose.formats.png import save_figure
from ptychodose.physics import lattice, noise, textures
from ptychodose.scans import figures as drawn_views
from ptychodose.scans import views
from ptychodose.scans.scan import Nodes, of_arrays
from test_views import DISC

REGION = (slice(10, 50), slice(8, 72))


@pytest.fixture(scope="module")
def truth():
    return textures.synthetic_object((60, 80), 0.55, 0.12, noise.stream(0, "object"))


def draw(truth, ssim=0.5):
    arms = {"baseline": (truth.conj(), None), "dense": (truth * 1.1, np.abs(truth) * (0.2 + 0.1j))}
    scores = {name: {"nrmse": 0.1, "phase_ssim": ssim} for name in arms}
    return figures.comparison(truth, arms, REGION, 12.8e-9, scores, ("truth", "10000 photons per pattern"))


def test_comparison_has_equal_scales_titles_and_a_scale_bar(truth):
    figure = draw(truth)
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    assert len(images) == 3 + 3 + 2 + 2 + 1
    for row in (images[:3], images[3:6], images[6:8], images[8:10]):
        assert len({image.get_clim() for image in row}) == 1
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any("µm" in text for text in texts)
    assert figure.axes[1].get_title().startswith("baseline\nNRMSE 0.100")


def test_pictures_are_aligned_as_the_scores_and_say_no_contrast(truth):
    """The arm dense is 1.1 times truth, so its error panels are empty; the panels have the region's size."""
    figure = draw(truth, ssim=None)
    panels = [axes.images[0].get_array() for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    assert {panel.shape for panel in panels} == {(40, 64)}
    assert np.abs(panels[7]).max() < 1e-9 and np.abs(panels[9]).max() < 1e-9 < np.abs(panels[8]).max()
    assert np.asarray(panels[10]) == pytest.approx(np.full((40, 64), 0.1 / 1.1)), "stated, of the phase"
    assert np.abs(np.exp(1j * panels[3]).mean().imag) < 1e-9, "truth's phase about its circular mean"
    assert figure.axes[1].get_title() == "baseline\nNRMSE 0.100, phase SSIM no contrast"


def test_curves_of_a_study_without_networks_have_no_empty_legend():
    """Warnings are errors: an empty legend is one."""
    figure = figures.curves({"map": {"frequency": [0.1, 0.5], "correlation": [0.9, None]}}, {})
    assert figure.axes[0].get_legend() is not None and figure.axes[1].get_legend() is None
    assert all(axes.get_legend() is None for axes in figures.curves({}, {}).axes)


def test_png_bytes_repeat(truth, tmp_path):
    for name in ("a.png", "b.png"):
        save_figure(lambda: draw(truth), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"Software" not in (tmp_path / "a.png").read_bytes()


def test_views_are_drawn_to_scale_with_units(tmp_path):
    raster = lattice.finest_scan((32.0, 100.0), (32.0, 100.0), 3.0, noise.stream(0, "jitter/test"))
    scan = of_arrays(None, DISC.astype(np.complex64), raster.positions, (140, 132))
    scan = replace(scan, nodes=Nodes(raster.nodes, 3.0))
    rule = views.Rule(frozenset({1, 4}), 7)
    view = views.select(scan, 3, None, rule, noise.stream(0, "views"), "x")
    figure = drawn_views.views({"train": scan, "test": scan}, {"dense": {"test": view}})
    axes = figure.axes[0]
    assert "object px" in axes.get_xlabel() and "object px" in axes.get_ylabel()
    assert {patch.get_radius() for patch in axes.patches} == {scan.diameter / 2}
    save_figure(lambda: figure, tmp_path / "views.png")
