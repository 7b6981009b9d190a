"""What git holds: files of a revision, and which files it tracks. Git is optional here: None means it cannot tell."""

import subprocess
from pathlib import Path


def _git(*arguments: str) -> bytes | None:
    """Standard output of a git command in the current folder; None when it fails or git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def commit(name: str) -> str | None:
    """The commit a tag, branch or abbreviated hash means; None when git knows no such commit."""
    # --end-of-options: a name that starts with a dash is a name, never an option.
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return None if found is None else found.decode().strip()


def content(revision: str, path: Path | str) -> bytes | None:
    """A file's bytes at a revision, `path` relative to the current folder; None when it is not there."""
    return _git("show", f"{revision}:./{Path(path).as_posix()}")


def differs(path: Path | str, revision: str = "HEAD") -> bool | None:
    """Whether a file's bytes differ from a revision's, a deleted file included; None when the revision has no such
    file."""
    held = content(revision, path)
    if held is None:
        return None
    return not Path(path).is_file() or Path(path).read_bytes() != held


def tracked() -> set[str] | None:
    """POSIX paths of the files git tracks below the current folder; None outside a repository."""
    listed = _git("ls-files", "-z")
    return None if listed is None else set(filter(None, listed.decode("utf-8", "surrogateescape").split("\0")))
