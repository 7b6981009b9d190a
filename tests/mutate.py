"""Hostile inputs at random: a valid file changed byte by byte, and by what its format means."""

import contextlib
import io
import random
import stat
import warnings
import zipfile
from collections.abc import Callable

import h5py
import numpy as np

NUMBERS = [0, 1, 2, 3, 8, 16, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
WORDS = [
    b"null", b"-1", b"0", b"1e999", b"-1e300", b".nan", b".inf", b"NaN", b"Infinity", b"true", b"[]", b"{}", b"''",
    b"9" * 5000, b"0x" + b"f" * 9000, b"0b_", b"1:" * 3000 + b"1", b"[" * 3000, b'{"a":' * 3000, b"&a [*a]", b"*a",
    b"!!python/object/apply:os.system [touch evil]", b"!!bool x", b"!!binary =", b"2024-99-99", b"\x00", b"\xff\xfe",
    b'"\\ud800"', b'"\\u0000\\n"', b"../../x", b"/etc/passwd", b"\xc2\x85", b"\x1b[2J", b"? [a]", b"<<: {a: 1}",
]  # fmt: skip
ATTRIBUTES = (0, -1, np.nan, np.inf, 1e300, 2**63 - 1, "text", b"\xff", np.zeros(100), [1, 2], [-1, 2**40], True)
SAID = (
    b"'<c8'",
    b"'<f8'",
    b"(70, 66)",
    b"(64, 64)",
    b"(2,)",
    b"False",
    b"(4, 8, 8)",
    b"(4, 2)",
)  # in the headers of the sample's arrays
INSTEAD = (
    b"'>c8'", b"'>f8'", b"'|O'", b"'<U9'", b"'|V8'", b"'<M8[s]'", b"[('a', '<c8')]", b"True", b"(66, 70)", b"(2, 1)",
    b"(-1,)", b"(10**9,)", b"(9999999999999,)", b"()",
)  # fmt: skip
NAMES = ("../evil", "/tmp/evil", "C:\\evil", "a\nb", "\u2028")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)


# Changes of bytes


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` after one to eight random changes of its bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = rng.choice(BYTE_MUTATORS)(data, rng)
    return data


def _flip(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(max(1, len(data)))
    return data[:at] + bytes([(data + b"\0")[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _number(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(max(1, len(data))), rng.choice((1, 2, 4, 8))
    value = rng.choice(NUMBERS) % 256**size
    return data[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((b"\0", b"\xff", b"\n", b" ", b"A" * 300, *WORDS)) + data[at:]


def _delete(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(max(1, len(data)))
    return data[:at] + data[at + rng.choice((1, 2, 8, 100)) :]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _splice(data: bytes, rng: random.Random) -> bytes:
    start, at = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    piece = data[start : start + rng.choice((4, 8, 40, 500))]
    return data[:at] + piece + data[at + rng.choice((0, len(piece))) :]


def _run(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(max(1, len(data))), rng.choice((2, 8, 64, 512))
    return data[:at] + rng.choice((b"\0", b"\xff")) * size + data[at + size :]


BYTE_MUTATORS = (_flip, _flip, _number, _number, _insert, _delete, _truncate, _splice, _run)


# Changes of meaning


def _text(data: bytes, rng: random.Random) -> bytes:
    """YAML or JSON with values replaced by hostile ones, lines repeated, dropped or exchanged."""
    lines = data.splitlines(True)
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    key, mark, _ = lines[at].partition(b":")
    comma = b"," if lines[at].rstrip().endswith(b",") else b""
    change = rng.randrange(4)
    if change == 0:
        lines[at] = key + mark + b" " + rng.choice(WORDS) + comma + b"\n"
    elif change == 1:
        lines.insert(other, lines[at])
    elif change == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        del lines[at]
    return b"".join(lines)


def _hdf5(data: bytes, rng: random.Random) -> bytes:
    """An HDF5 file with one dataset, link or attribute replaced by something it must not be."""
    buffer, names = io.BytesIO(data), []
    with h5py.File(buffer, "r+") as file:
        file.visit(names.append)
        name = rng.choice(names)
        item = file[name]
        if rng.randrange(3) == 0 and len(item.attrs):
            item.attrs[rng.choice(sorted(item.attrs))] = rng.choice(ATTRIBUTES)
        else:
            values = item[()] if isinstance(item, h5py.Dataset) else np.zeros(3)
            values = values["real"] if values.dtype.names else values
            del file[name]
            rng.choice(REPLACEMENTS)(file, name, values, rng)
    return buffer.getvalue()


def _as(*kinds: str) -> Callable[..., None]:
    def change(file: h5py.File, name: str, values: np.ndarray, rng: random.Random) -> None:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file[name] = np.asarray(values).astype(rng.choice(kinds))

    return change


def _extreme(file: h5py.File, name: str, values: np.ndarray, rng: random.Random) -> None:
    """One number of the array at an end of its type, or none at all."""
    values = np.array(values)
    extremes: tuple[float, ...] = (0, -1, np.nan, np.inf, 1e30, 1e-30)
    if values.dtype.kind in "iu":
        extremes = (0, 1, np.iinfo(values.dtype).max, np.iinfo(values.dtype).min)
    if values.size:
        values.flat[rng.randrange(values.size)] = rng.choice(extremes)
    file[name] = values


def _claim(file: h5py.File, name: str, values: np.ndarray, rng: random.Random) -> None:
    """A dataset of an absurd shape of which nothing is stored."""
    shape = tuple(rng.choice((0, 1, 3, 10**5, 10**9)) for _ in range(rng.randrange(1, 4)))
    options = rng.choice(({}, {"chunks": True}, {"compression": "gzip"}, {"shuffle": True}, {"scaleoffset": 0}))
    with contextlib.suppress(ValueError, TypeError):  # beyond 2^64 bytes, or no filter for such numbers
        file.create_dataset(name, shape, values.dtype, **options)


def _packed(file: h5py.File, name: str, values: np.ndarray, rng: random.Random) -> None:
    values = np.atleast_1d(values)
    packed = rng.choice(({"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True}))
    file.create_dataset(name, data=values, chunks=True, **packed)


def _link(file: h5py.File, name: str, values: np.ndarray, rng: random.Random) -> None:
    file[name] = rng.choice((h5py.ExternalLink("/etc/passwd", "/x"), h5py.SoftLink("/"), h5py.SoftLink(f"/{name}")))


def _odd(file: h5py.File, name: str, values: np.ndarray, rng: random.Random) -> None:
    """Circles, groups, types and texts in place of numbers."""
    kind = rng.randrange(5)
    if kind == 0:
        file[name] = file["/"]
    elif kind == 1:
        file.create_group(f"{name}/" + "/".join("abcdefghijkl"))
    elif kind == 2:
        file[name] = np.dtype("f8")
    elif kind == 3:
        file[name] = rng.choice(("text", [b"a", b"bc"], h5py.Empty("f8")))
    else:
        file.create_dataset(name, (3,), h5py.vlen_dtype(np.int32))


REPLACEMENTS = (
    _as(">i4", ">f8", ">u4", ">c8"), _as("i1", "u8", "f2", "f4", "c16", "bool"), _extreme, _extreme, _claim, _packed,
    _link, _odd,
)  # fmt: skip


def _npy(data: bytes, rng: random.Random) -> bytes:
    """An array file whose header says something else."""
    return data.replace(rng.choice(SAID), rng.choice(INSTEAD))


def _zip(data: bytes, rng: random.Random) -> bytes:
    """The archive written anew, with right checksums: a member changed, or its entry made hostile."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = [(info.filename, archive.read(info), info.compress_type) for info in archive.infolist()]
    target, change, made = rng.randrange(len(content)), rng.randrange(8), io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w") as archive:
        warnings.simplefilter("ignore")  # a name twice
        for number, (name, member, method) in enumerate(content):
            info, hit = zipfile.ZipInfo(name), number == target
            info.external_attr = (stat.S_IFLNK if hit and change == 0 else stat.S_IFREG) << 16
            info.filename = rng.choice((*NAMES, content[0][0])) if hit and change == 1 else name
            info.compress_type = rng.choice(METHODS) if hit and change == 2 else method
            archive.writestr(info, _member(member, rng) if hit and change > 2 else member)
    return made.getvalue()


def _member(data: bytes, rng: random.Random) -> bytes:
    """A member of a bundle or of a base, by what it is."""
    if data.startswith(b"\x89HDF"):
        return rng.choice((mutated, _hdf5))(data, rng)
    return rng.choice((mutated, _npy if data.startswith(b"\x93NUMPY") else _text))(data, rng)


MEANINGS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "params": _text, "manifest": _text, "training": _text, "cxi": _hdf5, "view": _hdf5,
    "bundle": _zip, "base": _zip, "ptychopinn": _zip, "tike": _zip, "ptychonn": _zip, "product_npz": _zip,
    "positions": _npy, "nexus": _hdf5, "matlab": _hdf5, "ptyd": _hdf5, "ptyr": _hdf5, "product": _hdf5,
    "patterns": _hdf5,
}  # fmt: skip


def hostile(name: str, data: bytes, rng: random.Random) -> bytes:
    """A change of a valid file of one reader: of its bytes, of its meaning, or of both."""
    change = rng.randrange(5)
    if change >= 2:
        data = MEANINGS[name](data, rng)
    return mutated(data, rng) if change <= 2 else data
