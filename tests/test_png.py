"""Pictures: equal drawings give equal bytes, of a fixed size, without a tag of the software."""

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ptychodose.formats.png import DPI, save_figure


def drawn():
    figure = Figure(figsize=(2, 1.5))
    figure.add_subplot().plot([0, 1], [1, 0])
    return figure


def test_equal_drawings_give_equal_bytes(tmp_path):
    for name in ("a.png", "new/b.png"):
        save_figure(drawn(), tmp_path / name)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "new" / "b.png").read_bytes() and b"Software" not in data


def test_the_size_is_that_of_the_figure_whatever_the_user_has_set(tmp_path):
    with matplotlib.rc_context({"savefig.dpi": 37, "savefig.format": "svg"}):
        save_figure(drawn(), tmp_path / "a")
    with Image.open(tmp_path / "a") as image:
        assert image.format == "PNG" and image.size == (200, 150) and DPI == 100


def test_a_failure_keeps_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_text("old")
    figure = drawn()
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save_figure(figure, path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.png"]
