"""What a measurement ran on. Never in anything that is digested."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "scipy", "h5py", "dvc")


def describe() -> dict[str, object]:
    """CPU model, usable cores, Python and library versions of this machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }
