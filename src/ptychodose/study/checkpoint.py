"""The state of an interrupted training in one file outside the outs, keyed by everything the training depends on.

DVC removes a stage's outs before it runs, and `persist: true` would resume after a change of parameters too; a file
named by a digest of inputs, parameters, code and environment can only be found by the very same work.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptychodose.errors import StudyError
from ptychodose.formats import bundle
from ptychodose.formats.atomic import sha256_file

FOLDER = Path("logs/checkpoints")


def key(inputs: Iterable[Path], code: Iterable[Path], parameters: Mapping[str, Any]) -> str:
    """SHA256 over the bytes of inputs and code and over `parameters` (JSON-able; environment and stage belong
    there), so that a checkpoint is taken up by equal work only."""
    files = {path.as_posix(): sha256_file(path) for path in (*inputs, *code)}
    text = json.dumps({"files": files, "parameters": parameters}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def loaded_code(source: Path) -> list[Path]:
    """Every file below `source` that this process runs: its script and all modules loaded so far, relative to the
    repository. A stage imports at the top, so this is its import closure."""
    files = {Path(str(getattr(module, "__file__", None))).resolve() for module in list(sys.modules.values())}
    return sorted(file.relative_to(source.parent) for file in files if file.is_relative_to(source))


class Checkpoint:
    """`keep` writes the state, at most every `seconds`; `load` finds it again; `clear` removes it at the end."""

    def __init__(self, stage: str, digest: str, seconds: float) -> None:
        self.stage, self.digest, self.seconds = stage, digest, seconds
        self.path = FOLDER / f"{stage}-{digest[:16]}.zip"
        self.kept = time.monotonic()

    def keep(self, make: Callable[[], Mapping[str, Any]]) -> None:
        """Write what `make` returns, unless the last state is younger than `seconds`."""
        if time.monotonic() - self.kept >= self.seconds:
            arrays: dict[str, np.ndarray] = {}
            tree = _flatten(make(), arrays)
            bundle.save(self.path, {"key": self.digest, "state": tree}, arrays)
            self.kept = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state kept by equal work, or None. A damaged file is reported on stderr and removed: the training
        then starts from its beginning, with the same result."""
        if not self.path.is_file():
            return None
        try:
            meta, arrays = bundle.load(self.path)
            if meta.get("key") != self.digest:
                raise StudyError(f"{self.path}: belongs to other work")
            return _restore(meta["state"], arrays)
        except (StudyError, LookupError, TypeError, ValueError, RecursionError) as error:
            reason = str(error).split(";")[0]
            print(f"checkpoint not usable ({reason}); {self.stage} starts over", file=sys.stderr)
            self.path.unlink()
            return None

    def clear(self) -> None:
        """Remove the checkpoints of this stage, of other parameters too."""
        for path in FOLDER.glob(f"{self.stage}-*.zip"):
            path.unlink()


def _flatten(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """JSON for a tree; tensors and arrays go to `arrays` and leave their number behind."""
    if isinstance(value, Tensor | np.ndarray):
        name = f"a{len(arrays):05d}"
        arrays[name] = value.detach().cpu().numpy() if isinstance(value, Tensor) else value.astype(np.int64)
        kind = "tensor" if isinstance(value, Tensor) else f"array {value.dtype.str}"
        return {kind: name}
    if isinstance(value, Mapping):
        return {"mapping": [[key, _flatten(item, arrays)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_flatten(item, arrays) for item in value]}
    return value


def _restore(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == "tensor":
        return torch.as_tensor(arrays[inside])
    if kind.startswith("array "):
        return arrays[inside].astype(np.dtype(kind.split()[1]))
    if kind == "mapping":
        return {name: _restore(item, arrays) for name, item in inside}
    return {"list": list, "tuple": tuple}[kind](_restore(item, arrays) for item in inside)
