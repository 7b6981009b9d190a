"""Masks of bad pixels: pictures and HDF5 of any usual kind, 0 = good; everything else is one line."""

import re
import struct
import zlib

import h5py
import numpy as np
import pytest
from PIL import Image

from closure import ROOT
from ptychodose.errors import StudyError
from ptychodose.formats.mask import read_mask

BAD = np.zeros((16, 16), bool)
BAD[3, 5] = BAD[10] = True


def picture(values, mode=None):
    def write(path):
        Image.fromarray(np.asarray(values), mode).save(path)

    return write


def array(values, name="mask"):
    def write(path):
        with h5py.File(path, "w") as file:
            file[name] = values

    return write


def raw_png(pixels, depth, colour):
    """A PNG of given bytes per row, packed; depth in bits, colour 0: grey, 2: RGB."""

    def write(path):
        head = struct.pack(">IIBBBBB", 16, 16, depth, colour, 0, 0, 0)
        packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
        chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
        made = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(made))

    return write


def cut(path):
    """Without the last rows and all that ends the file."""
    raw_png(np.random.default_rng(0).integers(1, 255, (16, 16), np.uint8), 8, 0)(path)
    path.write_bytes(path.read_bytes()[:-20])


def tiled(path):
    """A TIFF of 16 x 16 pixels in a packed tile of 64 MiB, which is most of what it would cost."""
    packed, tags = zlib.compress(bytes(2**26), 9), [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, 2**13), (323, 2**13), (324, 8 + 2 + 12 * 10 + 4), (325, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, 10) + entries + bytes(4) + packed)


GREY = BAD.astype(np.uint8) * 255
GOOD = {
    "grey": ("a.png", picture(GREY)),
    "faint": ("a.png", picture(BAD.astype(np.uint8))),
    "bits": ("a.png", lambda path: Image.fromarray(BAD).save(path)),
    "16 bit": ("a.png", picture(BAD.astype(np.uint16) * 7)),
    "colours that agree": ("a.png", picture(np.repeat(GREY[..., None], 3, 2))),
    "transparency": ("a.png", picture(np.dstack([GREY, GREY, GREY, 255 - GREY]))),
    "palette": ("a.png", lambda path: Image.fromarray(GREY).convert("P").save(path)),
    "tiff": ("a.TIFF", picture(GREY)),
    "hdf5": ("a.h5", array(BAD.astype(np.uint32) * 2**20)),
    "truth values": ("a.hdf5", array(BAD)),
    "cxi": ("a.cxi", array(BAD.astype(np.int8), "entry_1/instrument_1/detector_1/mask")),
}


@pytest.mark.parametrize("kind", GOOD)
def test_zero_is_good_in_every_kind(tmp_path, kind):
    name, write = GOOD[kind]
    write(tmp_path / name)
    found = read_mask(tmp_path / name, 16)
    assert found.dtype == bool and (found == ~BAD).all()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n%%EOF\n"
REFUSED = {
    "another suffix": ("a.npy", lambda path: path.write_bytes(b"x"), r"none of \.png"),
    "absent": ("a.png", lambda path: None, "not found"),
    "a folder": ("a.png", lambda path: path.mkdir(), "not found"),
    "no picture": ("a.png", lambda path: path.write_bytes(b"x" * 99), "not a readable picture"),
    "cut": ("a.png", lambda path: (picture(GREY)(path), path.write_bytes(path.read_bytes()[:45])), "not a readable"),
    "cut rows": ("a.png", cut, "not a readable"),
    "colours of 16 bit": ("a.png", raw_png(np.repeat(BAD, 3, 1).astype(">u2"), 16, 2), "colours of 16 bit"),
    "a packed TIFF": ("a.tif", lambda path: Image.fromarray(GREY).save(path, compression="tiff_lzw"), "compressed"),
    "a TIFF of one huge tile": ("a.tif", tiled, "compressed"),
    "a program": ("a.png", lambda path: path.write_bytes(EPS), "cannot identify"),
    "another size": ("a.png", picture(np.zeros((16, 20), np.uint8)), "has 16 x 20 pixels, the detector 16 x 16"),
    "a bomb": ("a.png", lambda path: Image.new("1", (15000, 15000)).save(path), "not a readable|15000 x 15000"),
    "colour": ("a.png", picture(np.dstack([GREY, GREY, 0 * GREY])), "in colour"),
    "inverted": ("a.png", picture(255 - GREY), "93% of the pixels bad.*inverted"),
    "all bad": ("a.h5", array(np.ones((16, 16), int)), "100% of the pixels bad"),
    "no dataset": ("a.h5", array(BAD, "other"), "holds neither mask nor entry_1"),
    "no numbers": ("a.h5", array(GREY * 0.5), "not whole numbers"),
    "another shape": ("a.h5", array(np.zeros((3, 16, 16), int)), "two dimensions"),
    "no HDF5": ("a.h5", lambda path: path.write_bytes(b"x" * 99), "not a readable mask"),
    "a link": ("a.h5", array(h5py.ExternalLink("/etc/passwd", "/x")), "is a link"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_mask_of_this_detector_is_one_line(tmp_path, kind):
    name, write, words = REFUSED[kind]
    write(tmp_path / name)
    with pytest.raises(StudyError, match=words) as caught:
        read_mask(tmp_path / name, 16)
    assert re.match(r"generate\.mask: \S+a\.\w+ ", str(caught.value)) and "\n" not in str(caught.value)


def test_the_example_is_what_its_readme_says():
    good = read_mask(ROOT / "data/masks/beamstop.png", 64)
    y, x = np.indices((64, 64)) - 32
    stop = np.hypot(y, x) < 6
    assert not good[stop].any() and 1 - good[~stop].mean() == pytest.approx(0.011, abs=0.004)
    snippet = (ROOT / "data/masks/README.md").read_text().split("```")[1].removeprefix("python")
    made = {}
    exec(snippet.split("Image.fromarray")[0], made)
    assert (made["bad"] == ~good).all()
