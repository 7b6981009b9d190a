"""Kill -9 a stage, or DVC itself, at random moments of the tiny study, and look at what that leaves behind."""

import hashlib
import json
import random
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml

from sandbox import ROOT, Study, environment

STAGES = tuple(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
RESULTS = ("dvc.lock", "manifest.json")
ORPHAN_SECONDS = 5  # a stage must be gone this soon after its DVC was killed
WAIT_SECONDS = 300  # for one command; the longest takes 60 on an idle core


@dataclass
class Tally:
    """Kills drawn, and how many of them met a living process."""

    kills: int = 0
    alive_when_killed: int = 0
    locks_cut: int = 0  # dvc.lock or DVC's own rwlock left unreadable, of DVC alone

    def count(self, alive: bool) -> None:
        self.kills += 1
        self.alive_when_killed += alive

    def row(self) -> dict[str, int]:
        return asdict(self)


def copy(source: Study, folder: Path) -> Study:
    """A copy of a finished study with its cache and its git history."""
    shutil.copytree(source.folder, folder, symlinks=True)
    return Study(folder, source.home)


def start(study: Study, *arguments: str) -> subprocess.Popen[bytes]:
    """`dvc repro` in a session of its own, never answered from the run cache; output goes to `said`."""
    _log(study).write_bytes(b"")
    with open(_log(study), "ab") as log:  # two at once may share it
        return subprocess.Popen(
            ["dvc", "repro", "--no-run-cache", *arguments],
            cwd=study.folder, env=environment(study.home), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def said(study: Study) -> str:
    """What was printed since the last `start`."""
    return _log(study).read_text(encoding="utf-8", errors="replace")


def _log(study: Study) -> Path:
    return study.folder.parent / f"{study.folder.name}.log"


def stage_of(dvc: subprocess.Popen[bytes]) -> psutil.Process | None:
    """The stage that a running DVC has started: its child whose command line names a script of src/."""
    try:
        for child in psutil.Process(dvc.pid).children():
            if any(word.startswith("src/") for word in child.cmdline()):
                return child
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        pass
    return None


def appearing(dvc: subprocess.Popen[bytes]) -> psutil.Process:
    """Wait until DVC has started its stage."""
    while dvc.poll() is None:
        if (stage := stage_of(dvc)) is not None:
            return stage
        time.sleep(0.005)
    raise AssertionError("DVC ended without starting a stage")


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that only waits for its parent to notice its end does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def inhabitants(folder: Path) -> list[str]:
    """Command lines of the processes that live in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
    return found


def digests(folder: Path) -> dict[str, str]:
    """SHA256 of every final file of a study: manifest.json, data/ and metrics/, without temporary files."""
    files = [folder / "manifest.json", *(folder / "data").rglob("*"), *(folder / "metrics").rglob("*")]
    final = [f for f in files if f.is_file() and not any(part.endswith(".tmp") for part in f.parts)]
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in final}


def temporaries(folder: Path) -> list[str]:
    """Temporary files and folders anywhere in a study; DVC's own are not ours."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*.tmp")]
    return [name for name in found if not name.startswith((".git/", ".dvc/"))]


def assert_nothing_partial(study: Study, whole: dict[str, str]) -> None:
    """Every final file there is one of the undisturbed run, byte for byte; files may lack."""
    found = digests(study.folder)
    assert {name: digest for name, digest in found.items() if whole.get(name) != digest} == {}


def assert_recovered(study: Study, finished: Study) -> None:
    """The study equals the undisturbed one, and no process is left."""
    assert inhabitants(study.folder) == []
    assert digests(study.folder) == digests(finished.folder)
    for name in RESULTS:
        assert (study.folder / name).read_bytes() == (finished.folder / name).read_bytes(), name


def retry(study: Study, *arguments: str) -> None:
    """The next `dvc repro` must just work."""
    assert start(study, *arguments).wait(WAIT_SECONDS) == 0, said(study)


def lifetime(study: Study, stage: str) -> float:
    """CPU seconds of a stage's process in the undisturbed run: how long it lives on an idle core."""
    return float(json.loads((study.folder / f"logs/{stage}.json").read_text())["cpu_seconds"])


def kill_stage(study: Study, stage: str, seconds: float) -> bool:
    """Kill a forced run of one stage `seconds` after its process appeared; False when it had ended before."""
    dvc = start(study, "-f", "-s", stage)
    process = appearing(dvc)
    time.sleep(seconds)
    if alive(process):
        process.kill()
    code = dvc.wait(WAIT_SECONDS)
    assert code == 0 or "exited with -9" in said(study), said(study)
    assert inhabitants(study.folder) == []
    return code != 0


def kill_stage_often(finished: Study, study: Study, stage: str, kills: int) -> Tally:
    """Kill a stage at seeded moments, retry each time, and end with the undisturbed study.

    A kill that came after the stage's end counts, and is drawn again up to twice. DVC answers a plain retry from its
    cache where it can, so every second one is forced, and the last; these also clear temporary files away.
    """
    rng, whole, tally, usual = random.Random(stage), digests(finished.folder), Tally(), lifetime(finished, stage)
    while tally.alive_when_killed < kills and tally.kills < kills + 2:
        # more draws near the end of its life, where files are written
        tally.count(kill_stage(study, stage, 1.05 * usual * rng.random() ** 0.5))
        assert_nothing_partial(study, whole)
        assert (study.folder / "dvc.lock").read_bytes() == (finished.folder / "dvc.lock").read_bytes()
        retry(study, "-s", stage, *["-f"] * (tally.kills % 2 == 0 or tally.alive_when_killed == kills))
        assert_recovered(study, finished)
    assert temporaries(study.folder) == []
    return tally


def kill_dvc(study: Study, seconds: float, tally: Tally, orphan: psutil.Process | None) -> psutil.Process | None:
    """Start `dvc repro` while the last one's stage must be on its way out, kill DVC alone, return its stage."""
    dvc = start(study)
    assert_gone(orphan)
    try:
        code = dvc.wait(seconds)
    except subprocess.TimeoutExpired:
        stage = stage_of(dvc)
        dvc.kill()
        dvc.wait()
        tally.count(True)
        return stage
    if code:
        mend_lock(study, tally)
    else:
        tally.count(False)
    return None


def assert_gone(orphan: psutil.Process | None) -> None:
    """The stage of a killed DVC must not live on."""
    until = time.monotonic() + ORPHAN_SECONDS
    while orphan is not None and alive(orphan):
        assert time.monotonic() < until, f"outlived its DVC: {orphan.cmdline()}"
        time.sleep(0.02)


def mend_lock(study: Study, tally: Tally) -> None:
    """DVC writes dvc.lock and its rwlock in place, a kill can cut one off; it says which, and that has to go."""
    cut = next((name for name in (".dvc/tmp/rwlock", "dvc.lock") if name in said(study)), None)
    assert cut is not None, said(study)
    (study.folder / cut).unlink()
    tally.locks_cut += 1


def kill_dvc_often(finished: Study, study: Study, kills: int) -> Tally:
    """Kill DVC again and again during the first run of a study; every retry starts at once."""
    rng, whole, tally = random.Random(f"dvc {study.folder.name}"), digests(finished.folder), Tally()
    usual = 1 + sum(lifetime(finished, stage) + 0.3 for stage in STAGES)  # DVC's own second, and its share of each
    orphan = None
    while tally.kills < kills:
        orphan = kill_dvc(study, rng.uniform(0, 1.05 * usual / kills), tally, orphan)
        assert_nothing_partial(study, whole)
    while start(study).wait(WAIT_SECONDS):
        assert tally.locks_cut < 2 * kills, said(study)
        mend_lock(study, tally)
    assert_gone(orphan)
    assert_recovered(study, finished)
    assert temporaries(study.folder) == []
    return tally
