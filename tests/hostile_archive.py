"""Hostile archives by design: `BASE`, `BUNDLE` map a name to the change of a valid file and the words of its refusal.

The words are a pattern, or "valid" for what must load all the same.
"""

import io
import json
import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

import hostile_hdf5 as inner
from hostile_hdf5 import Change

BOMB = 2 * 10**7  # bytes that a member unpacks to, more than a test may use


class Payload:
    """What a pickle would run: it makes a file named `evil` in the current folder."""

    def __reduce__(self):
        return open, ("evil", "w")


# Changes


def rewritten(edit: Callable[[dict[str, bytes]], object], **entry: object) -> Change:
    """The archive written anew after `edit(members)`; `entry` sets fields of every member's ZipInfo."""

    def change(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            methods = {info.filename: info.compress_type for info in archive.infolist()}
            members = {name: archive.read(name) for name in methods}
        edit(members)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = methods.get(name, zipfile.ZIP_STORED)
                for key, value in entry.items():
                    setattr(info, key, value)
                archive.writestr(info, data)

    return change


def put(name: str, data: bytes) -> Change:
    """A member's bytes replaced, or a member more."""
    return rewritten(lambda members: members.update({name: data}))


def packed_as(method: int) -> Change:
    return rewritten(lambda members: None, compress_type=method)


def twice(name: str) -> Change:
    def change(path: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")  # of the name
            archive.writestr(name, b"x")

    return change


def directory(offset: int, value: int, size: int) -> Change:
    """A field of every entry of the archive's directory overwritten."""

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        for entry in re.finditer(b"PK\x01\x02", bytes(data)):
            data[entry.start() + offset : entry.start() + offset + size] = value.to_bytes(size, "little")
        path.write_bytes(data)

    return change


def bomb(path: Path) -> None:
    """Members that claim 1000 bytes and unpack to many more."""
    rewritten(lambda m: m.update(dict.fromkeys(m, bytes(BOMB))), compress_type=zipfile.ZIP_DEFLATED)(path)
    directory(24, 1000, 4)(path)


def npy(said: bytes, instead: bytes) -> Change:
    """The header of every array says something else."""

    def edit(members: dict[str, bytes]) -> None:
        for name, data in members.items():
            size = int.from_bytes(data[8:10], "little")
            header = data[10 : 10 + size].rstrip().replace(said, instead) + b"\n"
            members[name] = data[:8] + len(header).to_bytes(2, "little") + header + data[10 + size :]

    return rewritten(edit)


def array(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Change:
    def edit(members: dict[str, bytes]) -> None:
        stream = io.BytesIO()
        np.save(stream, make(np.load(io.BytesIO(members[f"{name}.npy"]))), allow_pickle=True)
        members[f"{name}.npy"] = stream.getvalue()

    return rewritten(edit)


def weights(change: Change) -> Change:
    """A change of weights.h5 inside a bundle."""

    def changed(path: Path) -> None:
        inside = path.with_name("inside.h5")

        def edit(members: dict[str, bytes]) -> None:
            inside.write_bytes(members["weights.h5"])
            change(inside)
            members["weights.h5"] = inside.read_bytes()

        rewritten(edit)(path)
        inside.unlink()

    return changed


def meta(edit: Callable[[dict], object]) -> Change:
    def change(members: dict[str, bytes]) -> None:
        document = json.loads(members["bundle.json"])
        edit(document)
        members["bundle.json"] = json.dumps(document).encode()

    return rewritten(change)


def _shared(file: h5py.File) -> None:
    """Ten names of the same bytes."""
    file["big"] = np.ones(10_000)
    for number in range(9):
        file[f"w{number}"] = file["big"]


# Cases

LINKS = rewritten(lambda members: None, external_attr=(stat.S_IFLNK | 0o777) << 16)
ENCRYPTED, OVERCLAIMED = directory(8, 1, 2), directory(24, 2**27, 4)
ENTER = "enter.weight"
BASE: dict[str, tuple[Change, str]] = {
    "a pickled array": (array("objectGuess", lambda a: np.array([Payload()], object)), "pickled"),
    "a pickle by name of an array": (lambda path: path.write_bytes(pickle.dumps(Payload())), "pickled"),
    "a pickle as an array's bytes": (put("objectGuess.npy", pickle.dumps(Payload())), "magic string"),
    "a path that climbs": (put("../evil.npy", b""), "outside"),
    "an absolute path": (put("/tmp/evil.npy", b""), "outside"),
    "a drive": (put("C:\\evil.npy", b""), "outside"),
    "an array twice": (twice("probeGuess.npy"), "twice"),
    "links": (LINKS, "is a link"),
    "encryption": (ENCRYPTED, "encrypted"),
    "LZMA": (packed_as(zipfile.ZIP_LZMA), "compressed in a way"),
    "arrays that claim more than they pack": (OVERCLAIMED, "more than"),
    "arrays that unpack to more than they claim": (bomb, "Bad CRC"),
    "10^13 numbers": (npy(b"(70, 66)", b"(9999999999999,)"), "claims"),
    "-1 numbers": (npy(b"(70, 66)", b"(-1, 66)"), "neither"),
    "more numbers than bytes": (npy(b"(70, 66)", b"(71, 66)"), "claims"),
    "a header that is a program": (npy(b"'<c8'", b"open('evil', 'w')"), "header"),
    "a header of brackets": (npy(b"(70, 66)", b"(" * 5000), "header"),
    "records": (npy(b"'<c8'", b"[('a', '<c8')]"), "array of records"),
    "the other byte order": (array("objectGuess", lambda a: a.astype(">c8")), "valid"),
    "amplitudes that overflow": (array("probeGuess", lambda a: a.astype("c16") * 1e200), "amplitudes"),
    "amplitudes that vanish": (array("objectGuess", lambda a: a.astype("c16") * 1e-200), "amplitudes"),
    "coordinates beyond all pixels": (array("xcoords", lambda a: a * 1e300), "xcoords"),
    "countless members": (rewritten(lambda m: m.update({f"m{i}": b"" for i in range(10_001)})), "members"),
}
BUNDLE: dict[str, tuple[Change, str]] = {
    "a path that climbs": (put("../evil", b""), "outside"),
    "a pickle beside the weights": (put("data.pkl", pickle.dumps(Payload())), "members"),
    "a pickle as weights": (put("weights.h5", pickle.dumps(Payload())), "damaged"),
    "weights twice": (twice("weights.h5"), "twice"),
    "links": (LINKS, "is a link"),
    "encryption": (ENCRYPTED, "encrypted"),
    "compression": (packed_as(zipfile.ZIP_DEFLATED), "compressed in a way"),
    "weights that claim more than there is": (OVERCLAIMED, "too large|more than"),
    "members that unpack to more than they claim": (bomb, "compressed in a way"),
    "an external link": (weights(inner.put(ENTER, inner.LINK)), "is a link"),
    "virtual weights": (weights(inner.virtual(ENTER)), "another file"),
    "10^15 numbers": (weights(inner.claiming(ENTER, inner.HUGE)), "claims"),
    "weights that share their bytes": (weights(inner.h5(_shared)), "more than the file"),
    "weights in a group": (weights(inner.h5(lambda f: f.__setitem__("a/b", 1.0))), "plain numeric"),
    "the other byte order": (weights(inner.values(ENTER, lambda d: d.astype(">f4"))), "valid"),
    "weights that are NaN": (weights(inner.values(ENTER, lambda d: d * np.nan)), "not finite"),
    "weights that are texts": (weights(inner.put(ENTER, b"text")), "not plain numbers"),
    "an absurd width": (meta(lambda d: d["architecture"].update(width=10**9)), "absurd architecture"),
    "a width that is a list": (meta(lambda d: d["architecture"].update(width=[4])), "absurd architecture"),
    "an absurd group size": (meta(lambda d: d.update(group_size="x" * 10**6)), "absurd group_size"),
    "a dose that is NaN": (meta(lambda d: d.update(dose=float("nan"))), "NaN"),
}
