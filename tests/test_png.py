"""Pictures: equal drawings give equal bytes, of a fixed size, without a tag of the software."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ptychodose.formats.png import DPI, save_figure


def drawn():
    figure = Figure(figsize=(2, 1.5))
    axes = figure.add_subplot(title="1.5")
    axes.plot([0, 1], [1, 0])
    axes.imshow([[0, 1]])
    return figure


def test_equal_drawings_give_equal_bytes(tmp_path):
    for name in ("a.png", "new/b.png"):
        save_figure(drawn, tmp_path / name)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "new" / "b.png").read_bytes() and b"Software" not in data


def test_the_size_is_that_of_the_figure_whatever_the_user_has_set(tmp_path):
    with matplotlib.rc_context({"savefig.dpi": 37, "savefig.format": "svg"}):
        save_figure(drawn, tmp_path / "a")
    with Image.open(tmp_path / "a") as image:
        assert image.format == "PNG" and image.size == (200, 150) and DPI == 100


HOSTILE = {"font.family": "serif", "font.size": 23, "axes.facecolor": "red", "lines.linewidth": 9, "axes.grid": True,
           "image.cmap": "hot", "savefig.bbox": "tight", "axes.formatter.use_locale": True, "text.antialiased": False,
           "axes.prop_cycle": "cycler('color', ['k'])", "figure.facecolor": "black", "axes.titlesize": 4}  # fmt: skip


def test_the_style_is_the_studys_whatever_this_process_has_set(tmp_path):
    save_figure(drawn, tmp_path / "a.png")
    with matplotlib.rc_context(HOSTILE):
        save_figure(drawn, tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 23, "what others set stays theirs"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("where", ["MPLCONFIGDIR", "MATPLOTLIBRC"])
def test_the_style_is_the_studys_whatever_the_user_has_set(tmp_path, where):
    lines = [f"{key}: {value}" for key, value in HOSTILE.items()]
    (tmp_path / "matplotlibrc").write_text("\n".join([*lines, "backend: svg"]))
    script = (
        "from pathlib import Path; import matplotlib, test_png; from ptychodose.formats.png import save_figure; "
        "assert matplotlib.rcParams['font.size'] == 23; save_figure(test_png.drawn, Path('b.png'))"
    )
    paths = os.pathsep.join(str(Path(__file__).parents[1] / name) for name in ("src", "tests"))
    given = {**os.environ, "PYTHONPATH": paths, where: str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, env=given)
    save_figure(drawn, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failure_keeps_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_text("old")
    figure = drawn()
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save_figure(lambda: figure, path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.png"]
