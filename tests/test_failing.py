"""Ends in one line: what the machine does not allow, which parameter changed, a reader that went."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ptychodose.errors import StudyError
from ptychodose.study import failing
from sandbox import ROOT, environment

THEN = {"dose": 10000, "generate": {"base": "a.yaml", "mask": None}, "train.portable": True, "solve": "nothing"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = {"stages": {"generate": {"params": {"params.yaml": THEN}}}}
    Path("dvc.lock").write_text(yaml.safe_dump(lock))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"dose": 5}, "dose 10000 -> 5"),
        ({"dose": "1o"}, "dose 10000 -> 1o"),
        ({"generate": {"base": "a.yaml", "mask": "m.png"}}, "generate.mask null -> m.png"),
        ({"generate": {"base": "a.yaml"}}, "generate.mask null -> missing"),
        ({"generate": {**THEN["generate"], "mask_": 1}}, "generate.mask_ missing -> 1"),
        ({"train": {}}, "train.portable True -> missing"),
        (
            {"dose": 1, "solve": 1, "generate": 1},
            "dose 10000 -> 1, generate.base a.yaml -> missing, generate.mask null -> missing and 2 more; mend",
        ),
    ],
)
def test_the_advice_names_the_keys_to_change_back(home, now, said):
    same = {"dose": 10000, "generate": THEN["generate"], "train": {"portable": True}, "solve": "nothing", "x": 1}
    Path("params.yaml").write_text(yaml.safe_dump(same))
    assert failing.advice("generate") == "mend that, then `dvc repro`"
    Path("params.yaml").write_text(yaml.safe_dump({**same, **now}))
    advice = failing.advice("generate")
    assert advice.startswith(f"changed in params.yaml since its last result: {said}"), advice
    assert "checkout" not in advice and failing.advice("overlap") == "mend that, then `dvc repro`"


@pytest.mark.parametrize("text", ["", "dose: [", "- 1", "\0"])
def test_where_nothing_is_known_the_advice_is_to_mend_it(home, text):
    Path("params.yaml").write_text(text)
    assert failing.advice("generate") == "mend that, then `dvc repro`"
    Path("params.yaml").write_text("dose: 1")
    Path("dvc.lock").write_text(text)
    assert failing.advice("generate") == "mend that, then `dvc repro`"


def limited(kind, soft, hard):
    """A process with a limit of its own that checks the machine."""
    script = "from ptychodose.study import failing; failing.check_machine(); import resource as r; " \
             "print(r.getrlimit(r.RLIMIT_NOFILE)[0])"  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT / "src")}, preexec_fn=lambda: resource.setrlimit(kind, (soft, hard)),
    )  # fmt: skip


def test_too_few_files_are_raised_or_refused_before_anything_begins():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert limited(resource.RLIMIT_NOFILE, 20, most).stdout == f"{failing.FILES}\n"
    assert "no more than 20 files" in limited(resource.RLIMIT_NOFILE, 20, 20).stderr.splitlines()[-1]


def test_where_nothing_can_be_written_it_says_so():
    assert "StudyError: nothing can be written" in limited(resource.RLIMIT_FSIZE, 0, 0).stderr.splitlines()[-1]


@pytest.mark.parametrize("script", ["study.py", "sweep.py"])
def test_a_reader_that_goes_ends_a_verb_without_a_word(tmp_path, script):
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "src" / script), "--help"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path), cwd=tmp_path,
    )  # fmt: skip
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), said) == (failing.GONE, b"")


def test_a_failing_disk_ends_a_verb_in_one_line_and_a_mistake_of_ours_does_not(capsys):
    full = OSError(28, "No space left on device", "out.json")
    assert failing.ends(lambda: (_ for _ in ()).throw(full)) == 1
    assert capsys.readouterr().err.startswith("error: out.json: No space left on device; check free space")
    with pytest.raises(OSError, match="ours"):
        failing.ends(lambda: (_ for _ in ()).throw(OSError("ours")))
    with pytest.raises(StudyError):
        failing.ends(lambda: (_ for _ in ()).throw(StudyError("x")))
