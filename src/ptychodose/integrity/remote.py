"""A DVC remote of any kind (folder, ssh, S3, WebDAV, HTTP), object by object, through DVC's own file systems."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ptychodose.errors import StudyError
from ptychodose.integrity.copies import Digests, digests


class Remote:
    """The remote `name` of the DVC repository in the current folder. Raises StudyError when there is none of that name,
    when DVC lacks the plug-in for it, or when it does not answer."""

    def __init__(self, name: str) -> None:
        from dvc.repo import Repo  # type: ignore[import-untyped]  # half a second, and only this option needs it

        self.name = name
        with self._plain("not usable"):
            repo = Repo()
            known = sorted(repo.config["remote"])
        if name not in known:
            raise StudyError(f"remote {name!r}: unknown; dvc knows {', '.join(known) or 'none, see `dvc remote add`'}")
        with self._plain("not usable"):
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
        """Upload an object aside and rename it, so that a broken connection leaves what was there. Raises StudyError
        when the remote refuses, as read-only ones do."""
        fs, path = self._store.fs, self._store.oid_to_path(md5)
        aside = f"{path}.{os.getpid()}.tmp"
        with self._plain("not written"):
            fs.makedirs(fs.parent(path))
            try:
                fs.put_file(str(source), aside)
                fs.mv(aside, path)
            except BaseException:
                _forget(fs, aside)
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
            text = " ".join(str(error).split())[:120] or type(error).__name__
            raise StudyError(
                f"remote {self.name!r}: {what} ({text}); check its address (`dvc remote list`), network and credentials"
            ) from None


def _forget(fs: Any, path: str) -> None:
    """Remove what a failed upload left; that the remote is gone is already being reported."""
    try:
        if fs.exists(path):
            fs.remove(path)
    except Exception:
        return
