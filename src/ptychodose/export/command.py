"""Command `export`: our files in the formats of others."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ptychodose.errors import StudyError
from ptychodose.export import png, ptychodus, ptychopinn, source, tiff
from ptychodose.scans import cxi
from ptychodose.scans.measured import REMEDY

SUFFIXES = {"ptychodus": (".h5", ".hdf5"), "ptychopinn": (".npz",), "tiff": (".tif", ".tiff"), "png": (".png",)}
WRITERS = {"ptychodus": ptychodus.write, "tiff": tiff.write, "png": png.write}  # of a reconstruction


def add_options(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", path: Callable[[str], Path]) -> None:
    """The verb `export`; `path` makes a path of a word of the command line."""
    made = verbs.add_parser("export", help="a reconstruction or a scan as another program's file")
    made.add_argument("file", type=path, metavar="FILE", help="a reconstruction; of ptychopinn, a scan CXI")
    made.add_argument("--as", choices=tuple(SUFFIXES), required=True, dest="kind", help="the format")
    made.add_argument("--out", type=path, required=True, metavar="OUT")
    made.add_argument("--scan", type=path, metavar="SCAN.cxi", help="what a reconstruction's file does not say")
    made.add_argument("--object", type=path, metavar="RECON.h5", help="of ptychopinn: what was made of the scan")
    made.set_defaults(run=export)


def export(options: argparse.Namespace) -> int:
    """Write one file and say what is in it."""
    kind, out = options.kind, options.out
    if out.suffix not in SUFFIXES[kind]:
        raise StudyError(f"--out {out}: end its name in {' or '.join(SUFFIXES[kind])}, being {kind}")
    if out.exists() and any(out.samefile(given) for given in _given(options) if given.exists()):
        raise StudyError(f"--out {out}: is what would be read; name another file")
    unused = "scan" if kind == "ptychopinn" else "object"
    if getattr(options, unused) is not None:
        raise StudyError(f"--{unused}: has no place --as {kind}; leave it out")
    try:
        said = _scan(options) if kind == "ptychopinn" else WRITERS[kind](out, source.read(options.file, options.scan))
    except OSError as error:
        raise StudyError(f"--out {out}: {error.strerror or error}; name another place") from None
    for line in said:
        print(line)
    print(f"written: {out}")
    return 0


def _given(options: argparse.Namespace) -> list[Path]:
    return [path for path in (options.file, options.scan, options.object) if path is not None]


def _scan(options: argparse.Namespace) -> list[str]:
    """A scan, for which an object may stand beside."""
    with cxi.dataset(options.file, REMEDY) as stored:
        scan = replace(stored.copy(), nodes=None)
    return ptychopinn.write(options.out, scan, None if options.object is None else source.read(options.object))
