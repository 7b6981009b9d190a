"""Hostile HDF5 files by design: `VIEW` and `CXI` map a name to the change of a valid file and the words of its refusal.

The words are a pattern, or "valid" for what must load all the same.
"""

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from ptychodose.formats import hdf5_guard
from ptychodose.scans import cxi

Change = Callable[[Path], object]
POSITIONS, COUNTS, ENERGY = cxi.TRANSLATION, f"{cxi.DETECTOR}/data", f"{cxi.SOURCE}/energy"
PROBE, NODES, DISTANCE = f"{cxi.SOURCE}/illumination", f"{cxi.STUDY}/nodes", f"{cxi.DETECTOR}/distance"
INDEX, SCAN, GROUPS = "train/index", "train/scan", "train/groups_4"
HUGE = (10**9, 10**6)


# Changes


def h5(change: Callable[[h5py.File], object]) -> Change:
    def changed(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return changed


def instead(name: str, make: Callable[[h5py.File, str, np.ndarray], object]) -> Change:
    """The dataset `name` replaced by what `make(file, name, its values)` puts there; its attributes are kept."""

    def change(file: h5py.File) -> None:
        values, attributes = file[name][()], dict(file[name].attrs)
        del file[name]
        make(file, name, np.asarray(values))
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            for key, value in attributes.items():
                file[name].attrs[key] = hdf5_guard.text(value.decode()) if isinstance(value, bytes) else value

    return h5(change)


def put(name: str, thing: object) -> Change:
    """A link, a type or a text of h5py in place of a dataset."""
    return instead(name, lambda file, name, _: file.__setitem__(name, thing))


def values(name: str, make: Callable[[np.ndarray], object], **options: object) -> Change:
    return instead(name, lambda file, name, old: file.create_dataset(name, data=make(old), **options))


def claiming(name: str, shape: tuple[int, ...], kind: object = None, **options: object) -> Change:
    """A dataset of some shape and type of which nothing is stored."""
    return instead(name, lambda file, name, old: file.create_dataset(name, shape, kind or old.dtype, **options))


def packed(name: str, **options: object) -> Change:
    """The same numbers in one chunk through filters."""
    return instead(name, lambda file, name, old: file.create_dataset(name, data=old, chunks=old.shape, **options))


def chunk(name: str, content: bytes, **options: object) -> Change:
    """One chunk whose packed bytes are `content`."""

    def make(file: h5py.File, name: str, old: np.ndarray) -> None:
        made = file.create_dataset(name, old.shape, old.dtype, chunks=old.shape, **options)
        made.id.write_direct_chunk((0,) * old.ndim, content)

    return instead(name, make)


def virtual(name: str) -> Change:
    def make(file: h5py.File, name: str, old: np.ndarray) -> None:
        layout = h5py.VirtualLayout(old.shape, old.dtype)
        layout[...] = h5py.VirtualSource("/etc/passwd", "x", old.shape)
        file.create_virtual_dataset(name, layout)

    return instead(name, make)


def external(name: str) -> Change:
    def make(file: h5py.File, name: str, old: np.ndarray) -> None:
        file.create_dataset(name, old.shape, old.dtype, external=[("/etc/passwd", 0, old.nbytes)])

    return instead(name, make)


def attribute(group: str, name: str, value: object) -> Change:
    return h5(lambda file: file[group].attrs.__setitem__(name, value))


def study(name: str, value: object) -> Change:
    return attribute(cxi.STUDY, name, value)


def _ladder(file: h5py.File) -> None:
    """Groups that hold each other twice: 2^40 ways to the last."""
    group = file.create_group("ladder")
    for _ in range(40):
        below = group.create_group("a")
        group["b"] = below
        group = below


def _elsewhere(file: h5py.File) -> None:
    del file["entry_1"]
    file["entry_1"] = h5py.ExternalLink("/dev/zero", "/")


def _many_groups(file: h5py.File) -> None:
    for number in range(hdf5_guard.MAX_NAMES + 1):
        file.create_group(f"g{number}")


def _bzip2(file: h5py.File, name: str, old: np.ndarray) -> None:
    """A dataset that names a filter which this HDF5 has not; nothing is packed by it."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(old.shape)
    plist.set_filter(307, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(old.dtype), h5py.h5s.create_simple(old.shape), plist)
    file[name][...] = old


def damaged_heap(path: Path) -> None:
    """A text in the global heap, and sizes there over which HDF5 2.0 never ends."""
    attribute("/", "view", "dense")(path)
    data = path.read_bytes()
    at = data.index(b"GCOL") + 16  # the heap's first object: 8 bytes of number, then its size
    path.write_bytes(data[: at + 8] + (2**63).to_bytes(8, "little") + data[at + 16 :])


# Cases

LINK, ITSELF = h5py.ExternalLink("/etc/passwd", "/x"), h5py.SoftLink(f"/{INDEX}")
VIEW: dict[str, tuple[Change, str]] = {
    "an external link": (put(INDEX, LINK), "is a link"),
    "a soft link": (put(INDEX, h5py.SoftLink("/test/index")), "is a link"),
    "a soft link to itself": (put(INDEX, ITSELF), "is a link"),
    "a virtual dataset": (virtual(INDEX), "another file"),
    "external storage": (external(INDEX), "another file"),
    "a group that holds itself": (h5(lambda f: f.__setitem__("train/again", f["train"])), "too deep"),
    "a ladder of groups": (h5(_ladder), "too deep"),
    "countless groups": (h5(_many_groups), "too many"),
    "10^15 numbers": (claiming(INDEX, HUGE), "claims 8000000000000000 bytes"),
    "10^15 numbers in chunks": (claiming(INDEX, HUGE, chunks=(10, 10)), "claims .* chunks"),
    "10^15 packed numbers": (claiming(INDEX, HUGE, chunks=(10, 10), compression="gzip"), "claims .* chunks"),
    "an enormous chunk": (claiming(INDEX, (10,), chunks=(10**8,), maxshape=(None,)), "chunks of .* MiB"),
    "a gzip bomb": (chunk(GROUPS, zlib.compress(bytes(10**6)), compression="gzip"), "unpack"),
    "a large gzip bomb": (chunk(GROUPS, zlib.compress(bytes(10**8), 1), compression="gzip"), "packed chunk"),
    "gzip within reason": (packed(GROUPS, compression="gzip", shuffle=True, fletcher32=True), "valid"),
    "lzf within reason": (packed(GROUPS, compression="lzf", shuffle=True, fletcher32=True), "valid"),
    "an lzf bomb": (chunk(GROUPS, b"\x00a" + b"\xe0\xff\x00" * 99, compression="lzf"), "unpack"),
    "an lzf stream that is too short": (chunk(GROUPS, b"\x1fa", compression="lzf"), "unpack"),
    "another filter": (instead(GROUPS, _bzip2), "filter 307"),
    "the other byte order": (values(INDEX, lambda d: d.astype(">i8")), "valid"),
    "a named type": (put(INDEX, np.dtype("i8")), "not a dataset"),
    "numbers of variable length": (claiming(INDEX, (6,), h5py.vlen_dtype(np.int64)), "not plain numbers"),
    "an enumeration": (claiming(INDEX, (6,), h5py.enum_dtype({"a": 0}, "i8")), "not plain numbers"),
    "a compound": (claiming(INDEX, (6,), np.dtype([("a", "i4")])), "not plain numbers"),
    "references": (claiming(INDEX, (6,), h5py.ref_dtype), "not plain numbers"),
    "texts": (put(INDEX, [b"a"] * 6), "not plain numbers"),
    "nothing": (put(INDEX, h5py.Empty("i8")), "no shape"),
    "an index below zero": (values(INDEX, lambda d: d - 1), "not a list of patterns"),
    "an index beyond int64": (values(INDEX, lambda d: d.astype("u8") + np.uint64(2**63)), "not a list of patterns"),
    "an index that is not whole": (values(INDEX, lambda d: d + 0.5), "not a list of patterns"),
    "a complex index": (values(INDEX, lambda d: d + 0j), "not a list of patterns"),
    "an index twice": (values(INDEX, lambda d: d * 0), "not a list of patterns"),
    "a scan that is one number": (values(SCAN, lambda d: d[0]), "not a list of patterns"),
    "a scan beyond the patterns": (values(SCAN, lambda d: d + 2**30), "not a list of patterns"),
    "groups that are not whole": (values(GROUPS, lambda d: d * 1.0), "do not point"),
    "groups that are NaN": (values(GROUPS, lambda d: d * np.nan), "not finite"),
    "no schema": (h5(lambda f: f.attrs.__delitem__("schema")), "not a view"),
    "a reason of two lines": (attribute("/", "skipped", hdf5_guard.text("a\nb\x1b[2J")), "valid"),
    "a text of variable length": (attribute("/", "view", "dense"), "variable length"),
    "a damaged heap of texts": (damaged_heap, "variable length"),
    "an attribute of many numbers": (attribute("/", "schema", np.zeros(1000)), "few numbers"),
    "countless attributes": (h5(lambda f: [f.attrs.create(f"a{i}", 1) for i in range(100)]), "attributes"),
}
CXI: dict[str, tuple[Change, str]] = {
    "an external link on the way": (h5(_elsewhere), "is a link"),
    "a soft link to itself": (put(POSITIONS, h5py.SoftLink(f"/{POSITIONS}")), "is a link"),
    "virtual counts": (virtual(COUNTS), "another file"),
    "external positions": (external(POSITIONS), "another file"),
    "10^13 counts": (claiming(COUNTS, (10**11, 8, 8), chunks=(16, 8, 8), scaleoffset=0), "claims .* chunks"),
    "larger than any detector": (values(COUNTS, lambda d: np.zeros((1, 600, 600), d.dtype)), "or more than"),
    "no patterns": (values(COUNTS, lambda d: d[:0]), "none"),
    "fewer positions than counts": (values(POSITIONS, lambda d: d[:2]), "expected kind"),
    "more nodes than counts": (values(NODES, lambda d: np.concatenate([d, d])), "expected kind"),
    "a chunk without its numbers": (chunk(COUNTS, bytes([32]) + bytes(24), scaleoffset=0), "unpack"),
    "a chunk of wide numbers": (chunk(COUNTS, b"\xff" * 900, scaleoffset=0), "unpack"),
    "positions of the other byte order": (values(POSITIONS, lambda d: d.astype(">f8")), "valid"),
    "counts of the other byte order": (values(COUNTS, lambda d: d.astype(">u4")), "byte order"),
    "counts of 64 bit": (values(COUNTS, lambda d: d.astype("u8")), "32 bit"),
    "a dose that is NaN": (study("dose_measured", np.nan), "dose_measured"),
    "a dose without end": (study("dose_requested", np.inf), "dose_requested"),
    "a dose below zero": (study("dose_requested", -1.0), "dose_requested"),
    "a pitch of zero": (study("pitch", 0.0), "pitch"),
    "a pitch of two numbers": (study("pitch", [1.0, 2.0]), "pitch"),
    "a schema that is a text": (study("schema", hdf5_guard.text("1")), "schema"),
    "a schema of two numbers": (study("schema", [1, 1]), "schema"),
    "an object of negative size": (study("shape", [-40, 41]), "shape"),
    "an object of 10^18 pixels": (study("shape", [10**9, 10**9]), "shape"),
    "an object too large as a whole": (study("shape", [2**20, 2**20]), "too large"),
    "a negative energy": (values(ENERGY, lambda d: -d), "energy"),
    "an energy that overflows": (values(ENERGY, lambda d: d * 1e300), "energy"),
    "an energy that vanishes": (values(ENERGY, lambda d: d * 1e-290), "energy"),
    "an energy of many numbers": (values(ENERGY, lambda d: np.full(9, d)), "one number"),
    "a distance that is a text": (values(DISTANCE, lambda d: b"far"), "not plain numbers"),
    "a distance in no units": (h5(lambda f: f[DISTANCE].attrs.__delitem__("units")), "units"),
    "positions that overflow": (values(POSITIONS, lambda d: d * 1e300), "beyond"),
    "nodes below zero": (values(NODES, lambda d: d - 1), "negative"),
    "nodes beyond int32": (values(NODES, lambda d: d.astype("i8") + 2**40), "beyond"),
    "a dark probe": (values(PROBE, lambda d: d * 0), "dark"),
    "a probe in one pixel": (values(PROBE, lambda d: d * (np.arange(d.size).reshape(d.shape) == 5)), "one pixel"),
    "a blinding probe": (values(PROBE, lambda d: d.astype("c16") * 1e200), "beyond"),
}
