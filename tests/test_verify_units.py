"""Parts of verify on a study made by hand: no DVC, no training."""

import argparse
import json
import re
from pathlib import Path

import pytest

import mini
from damage import flip
from mini import ARRAY, METRIC, NOTES, TABLE
from ptychodose.errors import CouldNotCheck, StudyError
from ptychodose.formats.atomic import sha256_file
from ptychodose.integrity import lock, places, record, repair, verify, verify_command


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    mini.make()


def bad():
    return {(f.path, f.kind) for f in verify.verify() if f.kind != verify.OK}


def cached(path):
    return record.read().files[path].cached


def run(*arguments):
    parser = argparse.ArgumentParser()
    verify_command.add_options(parser)
    return verify_command.run(parser.parse_args(arguments))


def edit(path, change):
    document = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps(change(document) or document))


def test_an_intact_study_is_intact():
    assert bad() == set() and verify.whole_cache()[0] == []
    assert {f.path for f in verify.verify()} == {"manifest.json", *record.read().rows}


def test_both_digests_come_from_one_reading_and_say_why_there_are_none(monkeypatch):
    assert places.digests(Path(ARRAY)).sha256 == sha256_file(Path(ARRAY))
    assert places.digests(Path("none")) is None and places.digests(Path("data")).problem == "is no regular file"
    assert places.digests(Path(ARRAY) / "x") is None

    def fail(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", fail)
    assert places.digests(Path(ARRAY)).problem == "not readable (Permission denied)"


def test_every_layer_is_checked_by_itself():
    row = record.read().rows[ARRAY]
    flip(cached(ARRAY))
    assert bad() == {(ARRAY, "mismatch")}
    cached(ARRAY).unlink()
    assert bad() == {(ARRAY, "missing")}
    Path(ARRAY).unlink()
    assert bad() == {(ARRAY, "missing")} and len([f for f in verify.verify() if f.kind != "OK"]) == 2
    mini.write(ARRAY, b"x" * row.bytes)
    assert (ARRAY, "mismatch") in bad()


def test_manifests_that_disagree_or_are_damaged_are_findings_not_the_end():
    def smaller(document):
        document["stages"]["one"][0]["bytes"] -= 1

    edit("manifest.json", smaller)
    assert {(ARRAY, "mismatch"), ("manifest.json", "mismatch")} <= bad()
    Path("data/manifests/one.json").write_text("{")
    details = {f.detail for f in verify.verify() if f.path == "data/manifests/one.json"}
    assert {"damaged manifest of a stage", "workspace bytes differ from manifest.json"} <= details

    def twice(document):
        document["stages"]["two"].append(document["stages"]["one"][0])

    edit("manifest.json", twice)
    assert (ARRAY, "mismatch") in bad()
    assert any(f.detail == "listed twice in manifest.json" for f in verify.verify())


@pytest.mark.parametrize(
    "text", ["{}", '{"schema": 1}', '{"schema": 1, "stages": {"one": [{}]}}', '{"schema": 1, "stages": []}', "["]
)
def test_an_unreadable_manifest_is_one_line(text):
    Path("manifest.json").write_text(text)
    with pytest.raises(StudyError, match=r"^manifest\.json: damaged"):
        verify.verify()


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "data/../../x", ""])
def test_records_cannot_point_out_of_the_study(path):
    edit("manifest.json", lambda document: document["stages"]["one"][0].update(path=path))
    with pytest.raises(StudyError, match="not a path inside the study"):
        verify.verify()
    with pytest.raises(StudyError, match="unusable"):
        lock.outs({"stages": {"one": {"outs": [{"path": path, "md5": "0" * 32}]}}})
    with pytest.raises(StudyError, match="unusable"):
        lock.outs({"stages": {"one": {"outs": [{"path": "x", "md5": "../../x"}]}}})
    data = lock.written({path: "0" * 32})
    with pytest.raises(ValueError, match="not usable"):
        lock.names(data, mini.hashlib.md5(data).hexdigest() + ".dir")


def test_a_lost_listing_is_named_and_its_files_still_checked():
    folder = next(item for item in record.read().folders if item.out.path == "data/f")
    lock.cache_path(folder.out.md5).unlink()
    assert bad() == {("data/f", "missing")}, "made again in memory of the folder's files"
    flip(Path(TABLE))
    assert bad() == {("data/f", "missing"), (TABLE, "mismatch")}
    flip(cached(TABLE))  # now nobody knows the MD5 of that file any more
    assert record.read().folders[0].names is None
    assert bad() == {("data/f", "missing"), (TABLE, "mismatch")}
    assert any("dvc.lock says nothing" in f.detail for f in verify.verify() if f.path == NOTES)


def test_strays_without_git_are_looked_for_in_output_folders_only(monkeypatch):
    Path("data/f/x").write_text("x")
    Path("data/y").write_text("y")
    assert bad() == {("data/f/x", "unlisted"), ("data/y", "unlisted")}
    monkeypatch.setenv("PATH", "")
    assert bad() == {("data/f/x", "unlisted")}


def test_the_cache_may_be_elsewhere_and_hold_strangers(tmp_path, monkeypatch):
    lock.repository().objects.joinpath("00").mkdir()
    lock.repository().objects.joinpath("00/.half.7.tmp").write_text("half")
    assert [f.kind for f in verify.whole_cache()[0]] == [record.UNLISTED]
    Path(".dvc/cache").rename(tmp_path / "far%20away")
    for file, value in ((".dvc/config", "../far%20away"), (".dvc/config.local", f'"{tmp_path}/far%20away"')):
        Path(file).write_text(
            f"[core]\n    analytics = false\n['remote \"x\"']\n    url = y\n[cache]\n    dir = {value}\n"
        )
        assert mini.cache() == tmp_path / "far%20away" and bad() == set()
        Path(file).write_text("")
    for level in ("GLOBAL", "SYSTEM"):  # of the user and of the machine
        mini.write(f"{level}/config", f"[cache]\n# comment\n      dir = {tmp_path}/far%20away  # uneven\n")
        monkeypatch.setenv(f"DVC_{level}_CONFIG_DIR", str(tmp_path / level))
        assert mini.cache() == tmp_path / "far%20away"
        monkeypatch.delenv(f"DVC_{level}_CONFIG_DIR")
    for text in ("dir", "[cache]\ndir = a\0b", "[cache]\ndir = ~nouser/x\n[cache]\n"):
        Path(".dvc/config").write_text(text)
        with pytest.raises(CouldNotCheck, match="DVC cannot open this repository") as caught:
            mini.cache()
        assert str(caught.value).isprintable()


def test_repair_goes_on_after_a_copy_that_cannot_be_written(monkeypatch):
    flip(Path(ARRAY))
    flip(Path(TABLE))

    def full(source, target, *how, put=places.put):
        if target == Path(ARRAY):
            raise StudyError("data/a.h5: No space left on device")
        put(source, target, *how)

    monkeypatch.setattr(places, "put", full)
    made = {entry.path: entry.source for entry in repair.repair()}
    assert made == {ARRAY: None, TABLE: "cache"} and bad() == {(ARRAY, "mismatch")}


def test_a_copy_that_turns_bad_meanwhile_is_not_put_in_place():
    wanted = record.read().wanted(ARRAY)
    before = Path(ARRAY).read_bytes()
    mini.write("bad", b"bad")
    with pytest.raises(StudyError, match="not replaced"):
        places.put(Path("bad"), Path(ARRAY), wanted, Path(), read_only=False)
    assert Path(ARRAY).read_bytes() == before and [p.name for p in Path("data").glob(".*")] == []


def test_a_link_into_the_cache_is_replaced_not_written_through():
    target = cached(ARRAY)
    Path(ARRAY).unlink()
    Path(ARRAY).hardlink_to(target)
    flip(target)
    assert [entry.source for entry in repair.repair()] == [None, None], "one file, so both are bad"
    Path(ARRAY).unlink()
    Path(ARRAY).symlink_to(Path(TABLE).absolute())
    flip(target)  # back
    table = Path(TABLE).read_bytes()
    assert [entry.source for entry in repair.repair()] == ["cache"]
    assert Path(TABLE).read_bytes() == table and not Path(ARRAY).is_symlink()


def test_repair_needs_a_manifest_that_git_holds():
    mini.git("rm", "-q", "--cached", "manifest.json")
    mini.git("commit", "-qm", "no manifest")
    with pytest.raises(StudyError, match="not in git's last commit"):
        repair.repair()
    Path("manifest.json").unlink()
    with pytest.raises(StudyError, match=r"manifest\.json"):
        repair.repair()


def test_the_seal_sees_entries_and_not_layout():
    first = record.seal()
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    document = json.loads(Path("manifest.json").read_text())
    Path("manifest.json").write_text(json.dumps(dict(reversed(document.items())), indent=7))
    assert record.seal() == first
    seen = {first}
    other = {"path": "x", "bytes": 0, "sha256": "0" * 64, "content_sha256": "0" * 64}
    for stage, rows in document["stages"].items():
        for i, row in enumerate(rows):
            for key in row:
                edited = json.loads(json.dumps(document))
                edited["stages"][stage][i][key] = other[key]
                Path("manifest.json").write_text(json.dumps(edited))
                seen.add(record.seal())
    assert len(seen) == 1 + 4 * sum(len(rows) for rows in document["stages"].values())


def test_a_seal_is_printed_alone_and_only_of_an_intact_study(capsys):
    assert run("--seal") == 0
    said = capsys.readouterr()
    digest = said.out.strip()
    assert said.out == f"{record.seal()}\n" and "git tag -s" in said.err
    assert run("--expect", digest.upper()) == 0 and f"seal as expected: {digest}" in capsys.readouterr().out
    assert run("--expect", "0" * 64) == 1
    assert len(re.findall("^NOT the expected seal", capsys.readouterr().out, re.M)) == 1
    for wrong in ("", "0" * 63, "g" * 64, "--x"):
        with pytest.raises(StudyError, match="not a seal"):
            run(f"--expect={wrong}")
    flip(Path(METRIC))
    assert run("--seal") == 1
    said = capsys.readouterr()
    assert said.out == "" and METRIC in said.err
    assert run("--expect", digest) == 1, "a damaged study has no seal"


def test_what_to_do_next_is_said_last(capsys):
    def last():
        assert run() == 1
        return capsys.readouterr().out.splitlines()[-1]

    Path(ARRAY).unlink()
    assert "`dvc pull`" in last()
    flip(Path(TABLE))
    assert "verify --repair`" in last()
    Path("dvc.lock").unlink()
    with pytest.raises(StudyError, match=r"git restore dvc\.lock"):
        run()
    mini.git("restore", "dvc.lock")
    Path(METRIC).write_text("{}")
    assert f"`git restore {METRIC}`, then" in last()
    flip(cached(TABLE))
    assert run("--repair") == 1
    assert "--remote NAME" in capsys.readouterr().out.splitlines()[-1]


def test_sums_are_for_coreutils(capsys):
    assert run("--sha256sums") == 0
    assert f"{sha256_file(Path(ARRAY))}  {ARRAY}\n" in capsys.readouterr().out
