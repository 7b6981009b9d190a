"""ptychodose: how little dose and overlap ptychography needs, as a reproducible study."""

import importlib.util
import sys

__version__ = "0.2.0"  # pyproject.toml reads it; CITATION.cff says the same

_missing = [
    name
    for name in ("h5py", "numpy", "scipy", "skimage", "torch", "tqdm", "yaml")
    if not importlib.util.find_spec(name)
]
if _missing:
    sys.exit(f"error: {sys.executable} lacks {', '.join(_missing)}; run `make setup` in the repository, then retry")
