"""The places copies of a file are in: what an intact copy is, putting one where a bad one is, and DVC's remotes of any
kind (folder, ssh, S3, WebDAV, HTTP), object by object, through DVC's own file systems."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_path
from ptychodose.formats.untrusted import regular

READ_ONLY = 0o444  # DVC's mode of cache objects; what has another mode it would hash again, and delete when damaged


@dataclass(frozen=True)
class Digests:
    """SHA256 and MD5 of one file, lower-case hex, and its size; `problem` says why there are none: what is there is no
    file, or could not be read (`unread`: a failing disk, permissions)."""

    sha256: str
    md5: str
    size: int
    problem: str = ""
    unread: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a copy must be: the SHA256 of manifest.json (None for DVC's own listings, which it does not know) and the
    MD5 of dvc.lock."""

    sha256: str | None
    md5: str

    def met_by(self, found: Digests | None) -> bool:
        """Whether a file of these digests (None: there is none) is an intact copy."""
        return found is not None and found.md5 == self.md5 and self.sha256 in (None, found.sha256)


def digests(path: Path, own: bool = False) -> Digests | None:
    """Both digests in one reading of the bytes; None when there is no such file. `own`: a link is no copy."""
    if own and path.is_symlink():
        return Digests("", "", 0, "is a link, no copy of its own")
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        with open(regular(path), "rb") as file:
            while block := file.read(1 << 20):
                sha256.update(block)
                md5.update(block)
                size += len(block)
    except (FileNotFoundError, NotADirectoryError):
        return Digests("", "", 0, "is a link to nothing") if path.is_symlink() else None
    except OSError as error:
        if error.errno == errno.EINVAL:
            return Digests("", "", 0, "is no regular file")
        return Digests("", "", 0, f"not readable ({error.strerror})", unread=True)
    return Digests(sha256.hexdigest(), md5.hexdigest(), size)


def put(source: Path, target: Path, wanted: Wanted, root: Path, read_only: bool) -> None:
    """Replace `target`, below `root`, by a copy of `source`: written aside, checked, flushed to disk, renamed; a link
    is replaced, never written through. Raises StudyError, and leaves `target` as it was, when a linked folder leads
    elsewhere, the copy is not what is wanted or the disk fails."""
    if target.parent.resolve() != root.resolve() / target.absolute().relative_to(root.absolute()).parent:
        raise StudyError(f"{target}: not replaced, a folder on the way to it is a link; remove that link")
    try:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
            if not wanted.met_by(digests(temporary)):
                raise StudyError(f"{target}: not replaced, the copy that was intact a moment ago no longer is")
            if read_only:
                os.chmod(temporary, READ_ONLY)
    except OSError as error:
        raise StudyError(f"{target}: {error.strerror or error}; free some space or check permissions") from None


class Remote:
    """The remote `name` of the DVC repository in the current folder. Raises StudyError when there is none of that name,
    when DVC lacks the plug-in for it, or when it does not answer."""

    def __init__(self, name: str) -> None:
        from dvc.repo import Repo  # type: ignore[import-untyped]  # half a second, and only this option needs it

        self.name, self._kind = name, ""
        with self._plain("not usable"):
            repo = Repo()
            if name not in repo.config["remote"]:
                known = ", ".join(sorted(repo.config["remote"])) or "none, see `dvc remote add`"
                raise StudyError(f"remote {name!r}: unknown; dvc knows {known}")
            self._kind = repo.config["remote"][name]["url"].partition("://")[0].replace("webdavs", "webdav")
            self._store = repo.cloud.get_remote_odb(name)
        with self._plain("not reachable"):
            there = self._store.fs.exists(self._store.path)
            local = self._store.fs.protocol == "local"
        if local and not there:  # object stores have no folders, so only here absence means anything
            raise StudyError(f"remote {name!r}: no folder {self._store.path}; mount it, or fill it with `dvc push`")

    @contextmanager
    def downloaded(self, md5: str) -> Iterator[tuple[Path, Digests | None]]:
        """An object (of a folder's listing: the MD5 ends in .dir) in a temporary folder, and its digests, None when the
        remote has none of that name. Raises StudyError when the remote does not answer."""
        with TemporaryDirectory(prefix="ptychodose-") as folder:
            path = Path(folder) / md5
            there = False  # a failed download may leave an empty file
            with self._plain("not reachable"), suppress(FileNotFoundError):
                self._store.fs.get_file(self._store.oid_to_path(md5), str(path))
                there = True
            yield path, digests(path) if there else None

    def store(self, source: Path, md5: str) -> None:
        """Upload an object aside and put it in the place of the bad one or none that is there, so that a broken
        connection leaves no half of it. Raises StudyError when the remote refuses, as read-only ones do."""
        fs, path = self._store.fs, self._store.oid_to_path(md5)
        aside = f"{path}.{os.getpid()}.tmp"
        with self._plain("not written"):
            fs.makedirs(fs.parent(path))
            if fs.isdir(path):
                raise StudyError(f"remote {self.name!r}: {path} is a folder; remove it, then repair again")
            for left in fs.ls(fs.parent(path), detail=False):  # by a run that was killed
                if str(left).startswith(f"{path}.") and str(left).endswith(".tmp"):
                    fs.remove(left)
            try:
                fs.put_file(str(source), aside)
                with suppress(FileNotFoundError):
                    fs.remove(path)  # WebDAV and SFTP rename over nothing
                fs.mv(aside, path)
            except BaseException:
                with suppress(Exception):  # that the remote is gone is already being reported
                    fs.remove(aside)
                raise
            self._store.protect(path)

    @contextmanager
    def _plain(self, what: str) -> Iterator[None]:
        """One line instead of whatever a remote's library raises: every kind of remote has exceptions of its own."""
        try:
            yield
        except StudyError:
            raise
        except Exception as error:
            if isinstance(error, ImportError) or type(error).__name__ == "RemoteMissingDepsError":
                how = f"`pip install 'dvc[{self._kind}]'` (with .venv active)"
                raise StudyError(f"remote {self.name!r}: DVC's plug-in for it is not installed; {how}") from None
            text = " ".join(str(error).split())[:120] or type(error).__name__
            raise StudyError(
                f"remote {self.name!r}: {what} ({text}); check its address (`dvc remote list`), network and credentials"
            ) from None


def to_fetch() -> str:
    """What brings back files that are nowhere here, in words: DVC's default remote, or the stages where it is a folder
    that is not there. No network is asked."""
    from dvc.exceptions import DvcException  # type: ignore[import-untyped]  # as above
    from dvc.repo import Repo

    try:
        store = Repo().cloud.get_remote_odb()
        if store.fs.protocol != "local" or store.fs.exists(store.path):
            return "`dvc pull`"
        return f"`dvc repro`, which makes them anew (nothing to pull: the default remote has no {store.path})"
    except (DvcException, ImportError):
        return "`dvc pull`, or `dvc repro`, which makes them anew"
