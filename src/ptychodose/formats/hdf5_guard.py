"""HDF5 from anywhere: what a file claims is checked before memory is taken for it.

A header of a few bytes can claim 10^15 numbers, point into another file, run in circles, or name a filter that
unpacks a thousandfold. Only what this study writes is read, and gzip, lzf, shuffle and fletcher32, which every h5py
has. All functions raise one of `untrusted.DAMAGE`, with a reason that fits a line.
"""

import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5z
from numpy.typing import NDArray

from ptychodose.formats.untrusted import DAMAGE as DAMAGE
from ptychodose.formats.untrusted import one_line, quoted

MAX_ARRAYS = 2**30  # bytes that a file's arrays may take; the largest object of a study has 512 MiB
MAX_CHUNK = 2**26
MAX_NAMES, MAX_DEPTH, MAX_ATTRIBUTES = 10_000, 8, 64
SCALEOFFSET, SHUFFLE, DEFLATE, LZF, FLETCHER32 = FILTERS = (  # in the order in which h5py chains them
    h5z.FILTER_SCALEOFFSET, h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_LZF, h5z.FILTER_FLETCHER32,
)  # fmt: skip
PAIRS = [np.dtype([("real", kind), ("imag", kind)]) for kind in ("<f4", "<f8")]  # of MATLAB's complex numbers
SCALEOFFSET_HEAD = 21  # bytes before the packed numbers of a chunk: their width, then the smallest of them


def member(group: h5py.Group, path: str, soft: int = 0) -> h5py.Group | h5py.Dataset:
    """What `path` names inside this very file. Links are refused unopened, wherever on the way they stand, but for
    `soft` soft links at most, which are followed here, within the file."""
    item, parts = group, path.split("/")
    while parts:
        name = parts.pop(0)
        if not isinstance(item, h5py.Group):
            raise ValueError(f"{quoted(path)} leads through something that is no group")
        link = item.get(name, getlink=True)
        if link is None:
            raise KeyError(one_line(path))
        if isinstance(link, h5py.SoftLink) and soft > 0:
            soft -= 1
            item = item.file if link.path.startswith("/") else item
            parts = [part for part in link.path.split("/") if part not in ("", ".")] + parts
            continue
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{quoted(path)} is a link")
        item = item[name]
    return item


def dataset(group: h5py.Group, path: str, soft: int = 0, pairs: bool = False) -> h5py.Dataset:
    """The plain numeric dataset at `path`, stored in this file as completely as its shape claims; `pairs`: or complex
    numbers as MATLAB has them, of fields `real` and `imag`."""
    item = member(group, path, soft)
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{quoted(path)} is not a dataset")
    if item.is_virtual or item.external:
        raise ValueError(f"{quoted(path)} keeps its numbers in another file")
    kind = item.dtype
    plain = kind.kind in "biufc" and kind.itemsize <= (16 if kind.kind == "c" else 8)
    if not (plain or (pairs and kind in PAIRS)) or h5py.check_enum_dtype(kind):
        raise ValueError(f"{quoted(path)} is {one_line(kind, 40)}, not plain numbers")
    if item.shape is None or item.ndim > 8:
        raise ValueError(f"{quoted(path)} has no shape, or an absurd one")
    _check_storage(item, path)
    return item


def _size(item: h5py.Dataset) -> int:
    """Bytes that a dataset claims; its own `nbytes` overflows."""
    return math.prod(item.shape) * item.dtype.itemsize


def _check_storage(item: h5py.Dataset, path: str) -> None:
    """ValueError unless the file holds every byte that is claimed. HDF5 would read beyond a chunk that is too short,
    and sets deflate no limit."""
    claimed, stored = _size(item), item.id.get_storage_size()
    if stored > item.file.id.get_filesize():
        raise ValueError(f"{quoted(path)} claims to fill more than the file")
    if item.chunks is None:
        if stored < claimed:
            raise ValueError(f"{quoted(path)} claims {claimed} bytes but stores {stored}")
        return
    size, filters = math.prod(item.chunks) * item.dtype.itemsize, _filters(item, path)
    wanted = math.prod(-(-side // part) for side, part in zip(item.shape, item.chunks, strict=True))
    if size > MAX_CHUNK:
        raise ValueError(f"{quoted(path)} has chunks of {size / 2**20:.0f} MiB")
    chunks: list[Any] = []
    item.id.chunk_iter(chunks.append)
    if len(chunks) != wanted:
        raise ValueError(f"{quoted(path)} claims {wanted} chunks but stores {len(chunks)}")
    for chunk in chunks if filters else ():
        if chunk.size > 2 * size + 1024:
            raise ValueError(f"{quoted(path)} has a packed chunk larger than what it packs")
        mask, data = item.id.read_direct_chunk(chunk.chunk_offset)
        active = {code for bit, code in enumerate(filters) if not mask >> bit & 1}
        if not _fits(data, active, size, item.dtype.itemsize):
            raise ValueError(f"{quoted(path)} has a chunk that does not unpack to its size")


def _filters(item: h5py.Dataset, path: str) -> list[int]:
    """Filters of a dataset; any that is not known, out of order, or set for other numbers is refused by name."""
    plist, kind = item.id.get_create_plist(), item.dtype
    found: list[int] = []
    # integer scaling; numbers per chunk; integer class; their size and sign. HDF5 takes these at their word.
    scaling = (2, math.prod(item.chunks), 0, kind.itemsize, int(kind.kind == "i"))
    for number in range(plist.get_nfilters()):
        code, _, values, name = plist.get_filter(number)
        if code not in FILTERS[FILTERS.index(found[-1]) + 1 if found else 0 :]:
            raise ValueError(f"{quoted(path)} is packed by filter {one_line(name.decode('latin-1') or code, 40)}")
        if code == SCALEOFFSET and (kind.kind not in "iu" or (values[0], *values[2:6]) != scaling):
            raise ValueError(f"{quoted(path)} is packed by a scaleoffset filter of other numbers")
        found.append(code)
    return found


def _fits(data: bytes, active: set[int], size: int, itemsize: int) -> bool:
    """Whether the packed bytes of a chunk make `size` bytes of numbers of `itemsize`."""
    if FLETCHER32 in active:
        data = data[:-4]
    if DEFLATE in active:
        data = zlib.decompressobj().decompress(data, size + 1024)
    if LZF in active:
        return SCALEOFFSET not in active and _lzf_size(data) == size
    if SCALEOFFSET not in active:
        return len(data) == size
    width = int.from_bytes(data[:4], "little")
    return width <= 8 * itemsize and len(data) >= SCALEOFFSET_HEAD + -(-size // itemsize * width // 8)


def _lzf_size(data: bytes) -> int:
    """Bytes to which an LZF stream unpacks: runs of c + 1 bytes as they are (c < 32), else copies of (c >> 5) + 2
    bytes from before, of 9 and more with a length byte of their own. -1 for a stream that ends within one."""
    at, made, end = 0, 0, len(data)
    while at < end:
        code = data[at]
        if code < 32:
            at, made = at + code + 2, made + code + 1
        elif code < 224:
            at, made = at + 2, made + (code >> 5) + 2
        else:
            made += 9 + (data[at + 1] if at + 1 < end else 0)
            at += 3
    return made if at == end else -1


def datasets(file: h5py.File, links: bool = False) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset by path, in HDF5's order; a file of circles or countless names is refused, and so is one of links,
    unless these are passed over (`links`)."""
    waiting, seen = [("", 0)], 0
    while waiting:
        prefix, depth = waiting.pop()
        group = member(file, prefix[:-1]) if prefix else file
        for name in group:
            seen += 1
            if seen > MAX_NAMES or depth >= MAX_DEPTH or not name.isprintable() or name in ("", ".") or "/" in name:
                raise ValueError(f"{quoted(prefix + name)}: too many or too deep groups, or no usable name")
            if links and not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            if isinstance(member(group, name), h5py.Group):
                waiting.append((f"{prefix}{name}/", depth + 1))
            else:
                yield f"{prefix}{name}", dataset(group, name)


def arrays(found: Mapping[str, h5py.Dataset], max_bytes: int = MAX_ARRAYS, finite: bool = True) -> dict[str, NDArray]:
    """All of several checked datasets of one file, in their shapes and native byte order, finite unless told.

    Refused before memory is taken: more than `max_bytes`, or more than the file holds (datasets that share bytes).
    """
    claimed = sum(_size(item) for item in found.values())
    if claimed > max_bytes:
        raise ValueError(f"arrays of {claimed / 2**20:.0f} MiB, more than {max_bytes / 2**20:.0f}; too large")
    sizes = [item.file.id.get_filesize() for item in found.values()]  # of one file
    if sum(item.id.get_storage_size() for item in found.values()) > max(sizes, default=0):
        raise ValueError("the arrays claim more than the file has")
    made = {}
    for name, item in found.items():
        values = np.asarray(item[()])
        if values.dtype.names:
            values = values["real"] + 1j * values["imag"]
        made[name] = values.astype(values.dtype.newbyteorder("="), copy=False)
        if finite and not np.isfinite(values).all():
            raise ValueError(f"{quoted(name)} holds values that are not finite")
    return made


def array(item: h5py.Dataset, name: str) -> NDArray:
    """All of one checked dataset, as `arrays`; `name` is for messages."""
    return arrays({name: item})[name]


def attributes(item: h5py.Group | h5py.Dataset) -> dict[str, object]:
    """Every attribute: texts, numbers, small arrays of numbers."""
    if len(item.attrs) > MAX_ATTRIBUTES:
        raise ValueError(f"{len(item.attrs)} attributes, more than {MAX_ATTRIBUTES}")
    return {name: attribute(item, name) for name in item.attrs}


def attribute(item: h5py.Group | h5py.Dataset, name: str) -> Any:
    """One attribute: a text, a number or a small array of numbers, finite. KeyError when it is missing."""
    found = h5py.h5a.open(item.id, name.encode("utf-8", "surrogateescape"))
    text = h5py.check_string_dtype(found.dtype)
    if text is not None and text.length is None:
        raise ValueError(f"attribute {quoted(name)} is a text of variable length, on which HDF5 can hang")
    if found.shape != () if text else found.dtype.kind not in "biuf" or math.prod(found.shape) > 64:
        raise ValueError(f"attribute {quoted(name)} is neither a text nor a few numbers")
    value = item.attrs[name]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, h5py.Empty) or (not text and not np.isfinite(value).all()):
        raise ValueError(f"attribute {quoted(name)} is empty or not finite")
    return value.item() if isinstance(value, np.generic) else value


def text(value: str) -> NDArray[np.bytes_]:
    """A text to be stored as an attribute: of fixed length, in the object's own header.

    h5py would put it into the file's global heap, over which HDF5 2.0 runs forever when sizes in it are damaged.
    """
    data = value.encode("utf-8")
    return np.array(data, h5py.string_dtype("utf-8", max(1, len(data))))


def number(item: h5py.Group | h5py.Dataset, name: str, low: float, high: float) -> float:
    """The attribute `name` as a number in [low, high]."""
    return within(attribute(item, name), name, low, high)


def within(value: object, name: str, low: float, high: float) -> float:
    """A scalar as a float in [low, high]."""
    if np.ndim(value) != 0 or isinstance(value, str) or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise ValueError(f"{quoted(name)} is {one_line(value, 40)}, not a number from {low:g} to {high:g}")
    return float(value)  # type: ignore[arg-type]
