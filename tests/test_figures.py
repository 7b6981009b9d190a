"""Pictures: deterministic bytes, one colour scale per row, everything labelled."""

import numpy as np
import pytest

from ptychodose.compare import figures
from ptychodose.physics import lattice, noise, textures
from ptychodose.scans import cxi, views


@pytest.fixture(scope="module")
def truth():
    return textures.synthetic_object((60, 80), 0.55, 0.12, noise.stream(0, "object"))


def draw(truth):
    arms = {"baseline": truth.conj(), "dense": truth * 1.1}
    scores = {name: {"nrmse": 0.1, "phase_ssim": 0.5} for name in arms}
    return figures.comparison(truth, arms, 12.8e-9, scores, 1e4)


def test_comparison_has_equal_scales_titles_and_a_scale_bar(truth):
    figure = draw(truth)
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    assert len(images) == 3 + 3 + 2 + 2
    for row in (images[:3], images[3:6], images[6:8], images[8:]):
        assert len({image.get_clim() for image in row}) == 1
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any("µm" in text for text in texts)
    assert figure.axes[1].get_title().startswith("baseline\nNRMSE 0.100")


def test_png_bytes_repeat(truth, tmp_path):
    for name in ("a.png", "b.png"):
        figures.save(draw(truth), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"Software" not in (tmp_path / "a.png").read_bytes()


def test_views_are_drawn_to_scale_with_units(tmp_path):
    raster = lattice.finest_scan((32.0, 100.0), (32.0, 100.0), 3.0, noise.stream(0, "jitter/test"))
    probe = np.ones((64, 64), np.complex64)
    header = cxi.Header(
        raster.positions, raster.nodes, probe, np.zeros((64, 64), np.uint32), 8800.0, 1.0, 172e-6, 3.0, 30.0,
        (140, 132), 1e4, 1e4,
    )  # fmt: skip
    view = views.select(header, 3, None, {1, 4}, 7, noise.stream(0, "views"), "x")
    figure = figures.views({"train": header, "test": header}, {"dense": {"test": view}})
    axes = figure.axes[0]
    assert "object px" in axes.get_xlabel() and "object px" in axes.get_ylabel()
    assert {patch.get_radius() for patch in axes.patches} == {15.0}
    figures.save(figure, tmp_path / "views.png")
