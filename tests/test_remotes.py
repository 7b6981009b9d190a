"""Remotes: what is said of one that cannot be used, and which command brings missing files back."""

import sys
from pathlib import Path

import pytest

import mini
from ptychodose.errors import StudyError
from ptychodose.integrity import places
from ptychodose.integrity.places import Remote


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A DVC repository in the current folder with these remotes, the first being the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def write(**urls):
        lines = [f'[core]\n remote = "{next(iter(urls))}"\n' if urls else ""]
        lines += [f"['remote \"{name}\"']\n url = {url}\n" for name, url in urls.items()]
        mini.write(".dvc/config", "".join(lines))
        if not Path(".git").exists():
            mini.git("init", "-q")

    return write


@pytest.mark.parametrize(
    ("url", "plugin", "command"),
    [
        ("s3://bucket/x", "dvc_s3", "pip install 'dvc[s3]'"),
        ("ssh://host/x", "dvc_ssh", "pip install 'dvc[ssh]'"),
        ("webdavs://host/x", "dvc_webdav", "pip install 'dvc[webdav]'"),
        ("gs://bucket/x", "dvc_gs", "pip install 'dvc[gs]'"),
        ("azure://bucket/x", "dvc_azure", "pip install 'dvc[azure]'"),
        ("oss://bucket/x", "dvc_oss", "pip install 'dvc[oss]'"),
    ],
)
def test_a_plug_in_that_is_missing_is_named(configured, monkeypatch, url, plugin, command):
    monkeypatch.setitem(sys.modules, plugin, None)  # as if it were not installed, also where it is
    configured(far=url)
    with pytest.raises(StudyError, match="plug-in for it is not installed") as caught:
        Remote("far")
    assert f"`{command}`" in str(caught.value) and "network" not in str(caught.value)


def test_the_next_step_is_one_that_can_help(configured, monkeypatch):
    configured(store="~/store")
    home = Path("home/store").absolute()
    assert places.to_fetch().startswith("`dvc repro`") and str(home) in places.to_fetch()
    home.mkdir(parents=True)
    assert places.to_fetch().startswith("`dvc repro`"), "nothing was ever pushed there"
    (home / "files/md5").mkdir(parents=True)
    assert places.to_fetch() == "`dvc pull`"
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    for urls in ({"far": "s3://bucket"}, {}):
        configured(**urls)
        assert places.to_fetch() == "`dvc pull`, or `dvc repro`, which makes them anew"
    configured(web="http://127.0.0.1:9/x")
    assert places.to_fetch() == "`dvc pull`", "no network is asked"
