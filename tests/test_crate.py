"""The study as an RO-Crate: complete, true, the same bytes every time, readable by the library of its makers."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from rocrate import vocabs
from rocrate.rocrate import ROCrate

from ptychodose.archive import crate_files
from test_crate_rules import validated

pytestmark = pytest.mark.slow
METADATA = "ro-crate-metadata.json"


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """A crate with data, and its entities by identifier."""
    folder = tmp_path_factory.mktemp("crate") / "made"
    finished.study("crate", "--with-data", "--out", str(folder))
    return folder, graph(folder)


def graph(folder):
    rows = json.loads((folder / METADATA).read_text())["@graph"]
    entities = {row["@id"]: row for row in rows}
    assert len(entities) == len(rows)
    return entities


def ids(value):
    return [item["@id"] for item in ([value] if isinstance(value, dict) else value)]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows_of(study):
    """Path, size and SHA256 by stage of manifest.json."""
    return json.loads((study.folder / "manifest.json").read_text())["stages"]


def flat(values, start=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{start}{key}.")
        else:
            yield start + key, "null" if value is None else value


def test_every_file_is_there_by_size_and_sha256(finished, made):
    folder, entities = made
    listed = [row for rows in rows_of(finished).values() for row in rows]
    assert len(listed) > 40
    for row in listed:
        entity = entities[row["path"]]
        assert (entity["@type"], entity["sha256"], entity["contentSize"]) == ("File", row["sha256"], str(row["bytes"]))
    parts = ids(entities["./"]["hasPart"])
    assert {row["path"] for row in listed} | crate_files.BESIDE | {"manifest.json"} <= set(parts)
    for name in parts:
        assert entities[name]["sha256"] == sha256(finished.folder / name) == sha256(folder / name), name


def test_every_stage_is_an_action_with_its_files_and_parameters(finished, made):
    _, entities = made
    lock = yaml.safe_load((finished.folder / "dvc.lock").read_text())["stages"]
    runs = {name: row for name, row in entities.items() if row["@type"] == "CreateAction" and name != "#study"}
    assert list(lock) == [name.removeprefix("#stage/") for name in runs]
    assert ids(entities["./"]["mentions"]) == ["#study", *runs]
    for stage, entry in lock.items():
        run = runs[f"#stage/{stage}"]
        assert run["description"] == entry["cmd"] and run["instrument"]["@id"] in entry["cmd"]
        used = [entities[name] for name in ids(run["object"])]
        values = {item["name"]: item["value"] for item in used if item["@type"] == "PropertyValue"}
        assert values == dict(flat(entry["params"]["params.yaml"]))
        files = {item["@id"] for item in used} - {item["@id"] for item in used if item["@type"] == "PropertyValue"}
        assert {row["path"] for row in entry["deps"] if not row["md5"].endswith(".dir")} <= files
        assert all(any(name.startswith(row["path"]) for name in files) for row in entry["deps"])
        wanted = {row["path"] for row in rows_of(finished)[stage]} | (
            {"manifest.json"} if stage == "compare" else set()
        )
        assert set(ids(run["result"])) == wanted
    tools = {run["instrument"]["@id"] for run in runs.values()}
    assert set(ids(entities["dvc.yaml"]["hasPart"])) == tools


def test_the_root_says_what_a_crate_must(finished, made):
    _, entities = made
    root, cited = entities["./"], yaml.safe_load((finished.folder / "CITATION.cff").read_text())
    assert root["name"] == cited["title"] and root["datePublished"] == str(cited["date-released"])
    assert len(root["description"]) > 20 and root["license"] == {"@id": "https://spdx.org/licenses/MIT"}
    assert [entities[name]["name"] for name in ids(root["author"])] == [row["name"] for row in cited["authors"]]
    assert root["mainEntity"] == {"@id": "dvc.yaml"} and "ComputationalWorkflow" in entities["dvc.yaml"]["@type"]
    versions = {entities[name]["name"]: entities[name]["softwareVersion"]
                for name in ids(entities["dvc.yaml"]["softwareRequirements"])}  # fmt: skip
    lock = (finished.folder / "requirements.lock").read_text().replace(" \\\n", "\n").splitlines()
    assert {"dvc", "torch", "numpy"} <= set(versions)
    assert {f"{name}=={version}" for name, version in versions.items()} <= set(lock)


def test_nothing_is_referred_to_that_is_not_described(made):
    folder, entities = made
    said = re.findall(r'"@id": "([^"]+)"', (folder / METADATA).read_text())
    assert set(said) - {"https://w3id.org/ro/crate/1.3"} == set(entities)
    text = (folder / METADATA).read_text()
    assert str(folder) not in text and not re.search(r'"/\w', text), "no absolute path"


def test_every_term_has_a_meaning(made):
    terms = vocabs.RO_CRATE["@context"]
    assert terms["sha256"] == "http://schema.org/sha256"
    for entity in made[1].values():
        kinds = [entity["@type"]] if isinstance(entity["@type"], str) else entity["@type"]
        assert {*kinds, *entity} - {"@id", "@type"} <= set(terms), entity["@id"]


def test_the_library_reads_it_back(made):
    folder, entities = made
    crate = ROCrate(folder)
    assert crate.name == entities["./"]["name"] and crate.mainEntity.id == "dvc.yaml"
    assert {entity.id for entity in crate.get_entities()} == set(entities)
    action = crate.dereference("#stage/train_dense")
    assert action["instrument"]["sha256"] == entities["src/train.py"]["sha256"]


def test_equal_studies_give_equal_bytes_and_without_data_the_same_files_are_named(copied, made, tmp_path):
    said = copied.study("crate", "--with-data", "--out", str(tmp_path / "full")).stdout
    assert (tmp_path / "full" / METADATA).read_bytes() == (made[0] / METADATA).read_bytes()
    parts = ids(made[1]["./"]["hasPart"])
    assert f"{len(parts)} files copied" in said
    copied.study("crate", "--out", str(tmp_path / "full"))
    assert {path.name for path in (tmp_path / "full").iterdir()} == {METADATA, "dvc.yaml"}, "a crate replaces a crate"
    named = {row.get("localPath", row["@id"]): row["sha256"] for row in graph(tmp_path / "full").values()
             if "File" in row["@type"]}  # fmt: skip
    assert named == {name: made[1][name]["sha256"] for name in parts}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("profile", ["ro-crate-1.3", "provenance-run-crate-0.5"])
def test_roc_validator_finds_nothing_required_to_be_missing(made, profile, tmp_path, monkeypatch):
    shutil.copytree(made[0], tmp_path / "crate")
    assert validated(tmp_path / "crate", profile, tmp_path, monkeypatch) == []


def test_the_default_folder_is_ignored_by_git(copied):
    copied.study("crate")
    assert (copied.folder / "crate" / METADATA).is_file()
    assert copied.run("git", "status", "--porcelain").stdout == ""


def append(path):
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("data/scan/truth.h5", append, "data/scan/truth.h5: workspace bytes differ"),
        ("data/views/dense.h5", Path.unlink, "data/views/dense.h5: listed in manifest.json, not in the workspace"),
        ("manifest.json", append, "manifest.json: bytes differ from dvc.lock"),
        ("src/generate.py", append, "src/generate.py: is MD5 "),
        ("data/hybrid/unseen.json", append, "data/hybrid: is MD5 "),
        ("README.md", Path.unlink, "README.md: No such file"),
    ],
)
def test_what_is_not_as_recorded_is_refused(copied, tmp_path, name, damage, words):
    damage(copied.folder / name)
    done = copied.study("crate", "--out", str(tmp_path / "crate"), ok=False)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {words}") and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "crate").exists()


@pytest.mark.parametrize("target", [".", "data", "README.md"])
def test_only_a_crate_is_ever_replaced(copied, target):
    done = copied.study("crate", "--out", target, ok=False)
    assert done.returncode == 1 and "exists and is not a crate" in done.stderr and len(done.stderr.splitlines()) == 1
    assert copied.run("git", "status", "--porcelain").stdout == ""


def test_without_a_release_the_date_is_that_of_the_commit(copied, tmp_path):
    path = copied.folder / "CITATION.cff"
    path.write_text(re.sub("(?m)^date-released.*\n", "", path.read_text()))
    copied.study("crate", "--out", str(tmp_path / "crate"))
    day = copied.run("git", "show", "-s", "--format=%cs", "HEAD").stdout.strip()
    assert graph(tmp_path / "crate")["./"]["datePublished"] == day
