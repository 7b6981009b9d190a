"""One finished study for all slow tests: run once, read by many, changed only in copies."""

import shutil

import pytest

from sandbox import Study, fresh


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A study run once; tests that change it work on copies."""
    folder = tmp_path_factory.mktemp("finished")
    made = fresh(folder / "study", folder / "home")
    done = made.dvc("repro")
    (folder / "repro.log").write_text(done.stdout)
    made.commit("results")
    return made


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "study", symlinks=True)
    return Study(tmp_path / "study", finished.home)
