"""The Slurm array under plain bash with Slurm's variables: own clones, real DVC, a bare repository and a folder as
remotes, all in paths with spaces; the study in it is one stage, the real one where bytes are compared."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from closure import ROOT
from ptychodose.study import params
from sandbox import fresh

STAGE = """dose=$(sed -n 's/^dose: //p' params.yaml)
if [ "$dose" -ge 600 ]; then echo $$ > "$HOME/waits" && exec sleep "$dose"; fi
test "$dose" -gt 0 && echo "$dose" > data/dose
"""
RUNS = """# name, changes
one -S dose=1

two   -S dose=2 -S 'seeds.noise=7'
zero -S dose=0
long -S dose=600
"""


class Cluster:
    """A study with its two remotes, and the array that Slurm would run."""

    def __init__(self, folder):
        self.folder, self.home, self.temporary = folder, folder / "home", folder / "tmp of a node"
        self.bare, self.store, self.venv = folder / "git remote.git", folder / "dvc store", folder / "an environment"
        self.runs = folder / "my runs.txt"
        self.runs.write_text(RUNS)
        for made in (self.temporary, self.store, self.venv):
            made.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):  # this environment under another path
            (self.venv / name).symlink_to(Path(sys.prefix, name))
        shutil.copy(ROOT / "requirements.lock", self.venv / ".made-from-lock")
        shutil.copy(ROOT / "cluster/sweep.sbatch", folder / "slurm_script")  # Slurm runs a copy of its own

    def hold(self, study):
        """Share a committed study as its user would."""
        self.study = study
        study.run("git", "init", "-q", "--bare", "-b", "main", str(self.bare))
        study.run("git", "remote", "add", "origin", str(self.bare))
        study.dvc("remote", "add", "-q", "--local", "-d", "cluster", str(self.store))
        study.run("git", "push", "-q", "origin", "main")
        if (study.folder / "dvc.lock").is_file():  # else there is nothing yet, which `dvc push` calls a failure
            study.dvc("push", "-q")
        return self

    def begin(self, index, **changes):
        """A task under way; a variable that is None is not set."""
        rev = self.study.run("git", "rev-parse", "HEAD").stdout.strip() if hasattr(self, "study") else "0" * 40
        variables = {
            "PATH": os.defpath, "HOME": self.home, "TMPDIR": self.temporary, "SLURM_JOB_ID": "7",
            "SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": index, "SLURM_SUBMIT_DIR": self.folder,
            "STUDY_REPO": self.bare, "STUDY_REV": rev, "STUDY_VENV": self.venv, "STUDY_STORE": self.store,
            "STUDY_RUNS": self.runs, **changes,
        }  # fmt: skip
        environment = {name: str(value) for name, value in variables.items() if value is not None}
        return subprocess.Popen(["bash", "slurm_script"], cwd=self.folder, env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    def task(self, index, **changes):
        """Exit status, last line of the output, lines of the errors; the node must be left clean."""
        return self.end(self.begin(index, **changes))

    def end(self, *begun):
        results = [(*process.communicate(), process.returncode) for process in begun]
        assert list(self.temporary.iterdir()) == []
        ends = [(code, (out.splitlines() or [""])[-1], wrong.splitlines()) for out, wrong, code in results]
        return ends[0] if len(ends) == 1 else ends

    def experiments(self):
        refs = subprocess.run(["git", "-C", str(self.bare), "for-each-ref", "--format=%(refname)", "refs/exps"],
                              capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
        return sorted(ref.rsplit("/", 1)[1] for ref in refs)


def one_stage(folder, home):
    """A committed study of one stage, which fails at dose 0 and takes as many seconds as the dose from 600 up."""
    made = fresh(folder, home)
    (folder / "src/stage.sh").write_text(STAGE)
    graph = {"stages": {"stage": {"cmd": "sh src/stage.sh", "params": ["dose"], "outs": ["data/dose"]}}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(graph))
    made.commit("one stage")
    return made


@pytest.fixture
def bare(tmp_path):
    return Cluster(tmp_path)


@pytest.fixture
def cluster(bare):
    return bare.hold(one_stage(bare.folder / "my clone", bare.home))


@pytest.mark.parametrize(
    ("index", "changes", "words"),
    [
        (0, {}, "SLURM_ARRAY_TASK_ID: 0, and .* has 4 runs; use sbatch --array=1-4"),
        (5, {}, "SLURM_ARRAY_TASK_ID: 5"),
        ("1;ls", {}, "SLURM_ARRAY_TASK_ID: 1;ls"),
        (None, {}, "SLURM_ARRAY_TASK_ID: none"),
        (1, {"STUDY_RUNS": None}, "cluster/runs.txt: no such file"),
        (1, {"STUDY_REPO": None}, "STUDY_REPO: not set"),
        (1, {"STUDY_REV": "main"}, "STUDY_REV: no commit"),
        (1, {}, "git remote.git cannot be cloned"),
    ],
)
def test_what_is_missing_ends_in_one_line(bare, index, changes, words):
    code, out, wrong = bare.task(index, **changes)
    assert code == 1 and out == "" and len(wrong) == 1
    assert re.match(f"error: .*{words}", wrong[0])


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ("", "0 runs"),
        ("a -S dose=1\nb -S dose=2\na -S dose=3", "two runs are named a"),
        ("a -S 'dose=1", "quote is not closed"),
        ("a --force -S dose=1", "'--force -S dose=1' is not -S key=value"),
        ("a -S dose=1 -S", "'-S' is not"),
        ("a -S dose", "'-S dose' is not"),
        ("-f -S dose=1", "'-f' is no name"),
        ("a/b -S dose=1", "'a/b' is no name"),
        ("'a b' -S dose=1", "'a b' is no name"),
        ("a -S dose=$(touch\u00a0here)", "cannot be cloned"),
    ],
)
def test_a_list_that_cannot_be_read_ends_in_one_line(bare, runs, words):
    bare.runs.write_text(runs)
    code, _, wrong = bare.task(1)
    assert code == 1 and len(wrong) == 1 and words in wrong[0] and wrong[0].startswith("error: ")
    assert not (bare.folder / "here").exists()


def test_the_list_of_the_project_can_be_read_and_its_page_submits_all_of_it(bare):
    (count,) = re.findall(r"sbatch --array=1-(\d+) ", (ROOT / "cluster/README.md").read_text())
    submitted = {"SLURM_SUBMIT_DIR": ROOT, "STUDY_RUNS": None}
    for index in range(1, int(count) + 1):
        assert "cannot be cloned" in bare.task(index, **submitted)[2][0]
    assert f"has {count} runs" in bare.task(int(count) + 1, **submitted)[2][0]
    keys = set(re.findall(r"(\S+)=", (ROOT / "cluster/runs.txt").read_text()))
    assert {"dose", "seed"} <= keys <= set(params.flat(yaml.safe_load((ROOT / "params.yaml").read_text())))


@pytest.mark.slow
def test_tasks_at_once_each_push_their_experiment_and_a_repeated_one_adds_nothing_or_is_refused(cluster):
    ends = cluster.end(*(cluster.begin(index) for index in (1, 2, 1)))
    assert [code for code, _, _ in ends] == [0, 0, 0], ends
    pushed = f"one: pushed to {cluster.bare}"  # by both, where they end in the same second: then their commit is one
    late = {
        "one: another task has pushed the same meanwhile; nothing to add",
        f"one: already in {cluster.bare}; skipped",
    }
    ones = [out for _, out, _ in ends if out.startswith("one:")]
    assert pushed in ones and len(ones) == 2 and set(ones) <= {pushed, *late}, ends
    assert cluster.experiments() == ["one", "two"]
    assert cluster.task(2) == (0, f"two: already in {cluster.bare}; skipped", [])
    study = cluster.study
    study.dvc("exp", "pull", "-q", "origin")
    study.dvc("exp", "apply", "-q", "two")
    assert (study.folder / "data/dose").read_text() == "2\n"
    assert yaml.safe_load((study.folder / "params.yaml").read_text())["seeds"]["noise"] == 7
    cluster.runs.write_text("one -S dose=2")
    code, _, wrong = cluster.task(1)
    assert code == 1 and len(wrong) == 1 and "(one -S dose=1); choose another name" in wrong[0]


@pytest.mark.slow
def test_places_that_cannot_be_used_are_named_before_anything_is_computed(cluster):
    for changes, words in (
        ({"STUDY_STORE": cluster.folder / "not mounted"}, "no folder"),
        ({"STUDY_STORE": None}, f"no folder {cluster.home}/ptychodose-store"),
        ({"STUDY_STORE": "gs://bucket/x"}, "DVC remote cluster"),
        ({"STUDY_REV": "1" * 40}, "git push first"),
        ({"STUDY_VENV": "/nowhere/at/all"}, "STUDY_VENV: /nowhere/at/all (error: .venv is a link"),
    ):
        code, out, wrong = cluster.task(1, **changes)
        assert code == 1 and out == "" and len(wrong) == 1 and words in wrong[0], wrong
    assert cluster.experiments() == []


@pytest.mark.slow
def test_a_failed_run_and_failed_pushes_leave_a_status_and_no_experiment(cluster):
    code, _, wrong = cluster.task(3)
    assert code == 1 and wrong[-1] == "error: zero: `dvc exp run` failed, see above; nothing was pushed"
    (cluster.store / "files").write_text("in the way")
    code, _, wrong = cluster.task(1)
    assert code == 1 and wrong[-1].startswith("error: one: `dvc push` failed") and cluster.experiments() == []
    (cluster.store / "files").unlink()
    hook = cluster.bare / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    code, _, wrong = cluster.task(1)
    assert code == 1 and re.match("error: one: cannot be pushed to .*hook declined", wrong[-1])
    assert cluster.experiments() == []


def test_the_signal_before_the_time_limit_ends_everything_and_cleans(cluster):
    begun, waits = cluster.begin(4), cluster.home / "waits"
    while not (waits.is_file() and waits.read_text()) and begun.poll() is None:
        time.sleep(0.1)
    command = Path("/proc", waits.read_text().strip(), "cmdline")
    assert command.read_bytes().startswith(b"sleep")
    begun.send_signal(signal.SIGTERM)
    code, _, wrong = cluster.end(begun)
    assert code == 1 and wrong[-1].startswith("error: long: stopped by a signal")
    assert not command.exists() or not command.read_bytes(), "gone, or a zombie"


def commit(study, experiment):
    """Digest of all that git keeps of an experiment: params.yaml, dvc.lock, manifest.json, metrics."""
    ref = study.run("git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{experiment}").stdout.strip()
    return study.run("git", "rev-parse", f"{ref}^{{tree}}").stdout


def manifests(study):
    """Bytes of every record of the workspace: of DVC, of the stages, of all together where `compare` ran."""
    names = ["dvc.lock", *sorted(path.name for path in study.folder.glob("manifest.json"))]
    paths = [*map(study.folder.joinpath, names), *sorted((study.folder / "data/manifests").iterdir())]
    return {path.relative_to(study.folder).as_posix(): path.read_bytes() for path in paths}


def same_by_array_queue_and_hand(cluster, study, doses):
    """Run the doses all three ways; all that is recorded must be the same. Names of the records."""
    study.dvc("repro")
    study.commit("base")
    cluster.hold(study)
    cluster.runs.write_text("".join(f"array-{dose} -S dose={dose}\n" for dose in doses))
    begun = [cluster.begin(index + 1) for index in range(len(doses))]
    assert {code for code, _, _ in cluster.end(*begun)} == {0}
    study.dvc("exp", "pull", "-q", "origin")
    for dose in doses:
        study.dvc("exp", "run", "--queue", "-n", f"queue-{dose}", "-S", f"dose={dose}")
    study.dvc("exp", "run", "--run-all")
    for dose in doses:
        study.dvc("exp", "apply", "-q", f"array-{dose}")
        made = manifests(study)
        study.run("git", "checkout", "-q", ".")
        study.edit("params.yaml", {"dose": dose})
        study.dvc("repro", "--no-run-cache")  # else it would take what the queue left
        assert manifests(study) == made
        assert commit(study, f"array-{dose}") == commit(study, f"queue-{dose}")
        study.run("git", "checkout", "-q", ".")
    return set(made)


@pytest.mark.soak
def test_two_doses_give_the_same_records_by_array_queue_and_hand(bare):
    study = fresh(bare.folder / "my clone", bare.home)
    graph = yaml.safe_load((study.folder / "dvc.yaml").read_text())
    graph["stages"] = {name: graph["stages"][name] for name in ("probe", "generate")}
    (study.folder / "dvc.yaml").write_text(yaml.safe_dump({key: graph[key] for key in ("vars", "stages")}))
    study.commit("two stages")
    records = same_by_array_queue_and_hand(bare, study, (1000, 100000))
    assert records == {"dvc.lock", "data/manifests/probe.json", "data/manifests/generate.json"}


@pytest.mark.soak
def test_three_doses_give_the_same_manifests_by_array_queue_and_hand(bare):
    study = fresh(bare.folder / "my clone", bare.home)
    records = same_by_array_queue_and_hand(bare, study, (1000, 10000, 100000))
    assert {"dvc.lock", "manifest.json", "data/manifests/reconstruct.json"} <= records
