"""A crate keeps what RO-Crate 1.3 and Provenance Run Crate 0.6 require; so says roc-validator, where it is there."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from rocrate import vocabs

from ptychodose.archive import crate, crate_files
from ptychodose.archive.crate_files import Run
from ptychodose.formats.atomic import sha256_file

ROOT = Path(__file__).parents[1]
PARAMETERS = {"dose": 1000, "train.loss": None, "train.portable": True, "arms": ["dense", "wide"], "solve": "nothing"}
RUNS = [
    Run("generate", "python src/generate.py", "src/generate.py", ["src/generate.py"], ["data/a.h5"], {"dose": 1000}),
    Run("compare", "python src/compare.py", "src/compare.py", ["src/compare.py", "data/a.h5"],
        ["manifest.json", "metrics/m é.json", "metrics/p.png"], PARAMETERS),
]  # fmt: skip
TOOLS = {"SoftwareApplication", "SoftwareSourceCode", "ComputationalWorkflow"}


@pytest.fixture(params=[False, True], ids=["metadata alone", "with data"])
def made(request, tmp_path, monkeypatch):
    """A crate of two stages, as `study.py crate` writes it."""
    monkeypatch.chdir(tmp_path)
    names = crate_files.BESIDE.union(*(run.uses + run.makes for run in RUNS))
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, name)
        else:
            Path(name).write_text(name)
    files = {name: sha256_file(Path(name)) for name in sorted(names)}
    monkeypatch.setattr(crate_files, "read", lambda: (RUNS, files))
    assert crate.write(tmp_path / "crate", request.param) == len(names)
    return SimpleNamespace(folder=tmp_path / "crate", whole=request.param, files=files)


def graph(folder):
    document = json.loads((folder / crate.METADATA).read_text())
    assert document["@context"] == "https://w3id.org/ro/crate/1.3/context"
    entities = {row["@id"]: row for row in document["@graph"]}
    assert len(entities) == len(document["@graph"]), "an identifier is described once"
    return entities


def kinds(entity):
    return {entity["@type"]} if isinstance(entity["@type"], str) else set(entity["@type"])


def ids(value):
    return [item["@id"] for item in ([value] if isinstance(value, dict) else value)]


def test_what_a_crate_says_it_holds_is_there_and_nothing_else(made):
    entities = graph(made.folder)
    described = {name: row for name, row in entities.items() if "File" in kinds(row)}
    assert set(described) == set(ids(entities["./"]["hasPart"]))
    held = {unquote(name) for name in described if not name.startswith("#")}
    assert held == (set(made.files) if made.whole else {"dvc.yaml"})
    assert {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()} == {
        *held, crate.METADATA
    }  # fmt: skip
    absent = {row["localPath"]: row["sha256"] for name, row in described.items() if name.startswith("#")}
    assert absent == {name: sha256 for name, sha256 in made.files.items() if name not in held}
    assert all(re.fullmatch(r"[\w#:/.?&=%~+-]+", name, re.ASCII) for name in entities), "identifiers are URIs"


def test_root_descriptor_and_profiles(made):
    entities = graph(made.folder)
    root, descriptor = entities["./"], entities[crate.METADATA]
    assert descriptor["about"] == {"@id": "./"} and descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.3"}
    assert {"name", "description", "license"} <= set(root) and re.fullmatch(r"\d{4}-\d\d-\d\d", root["datePublished"])
    assert ids(root["conformsTo"]) == list(crate.PROFILES)
    for name in crate.PROFILES:
        assert kinds(entities[name]) == {"CreativeWork", "Profile"} and name.endswith("/" + entities[name]["version"])


def test_the_workflow_is_a_file_of_the_crate_and_its_software_has_versions(made):
    entities = graph(made.folder)
    workflow = entities[entities["./"]["mainEntity"]["@id"]]
    assert kinds(workflow) == {"File", "SoftwareSourceCode", "ComputationalWorkflow"}
    assert (made.folder / workflow["@id"]).is_file()
    assert kinds(entities[workflow["programmingLanguage"]["@id"]]) == {"ComputerLanguage"}
    software = [row for row in entities.values() if kinds(row) & {"SoftwareApplication", "ComputerLanguage"}]
    assert len(software) > 5 and all(re.match(r"\d+\.\d+", row["version"]) for row in software)


def test_every_run_has_its_tool_and_every_tool_its_run(made):
    entities = graph(made.folder)
    runs = [row for row in entities.values() if "CreateAction" in kinds(row)]
    used = {run["instrument"]["@id"] for run in runs}
    assert all(kinds(entities[name]) & TOOLS for name in used)
    assert used == {"dvc.yaml", *ids(entities["dvc.yaml"]["hasPart"])} and len(used) == 3
    for run in runs:
        assert set(ids(run["object"])) | set(ids(run["result"])) <= set(entities)


# Provenance Run Crate is checked in version 0.5, which is of RO-Crate 1.1: by the changelog of 0.6, what differs is the
# version that the descriptor names and the IRIs of these terms.
OLD = {"ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
       "FormalParameter": "https://bioschemas.org/FormalParameter"}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("profile", ["ro-crate-1.3", "provenance-run-crate-0.5"])
def test_roc_validator_finds_nothing_required_to_be_missing(made, profile, tmp_path, monkeypatch):
    found = validated(made.folder, profile, tmp_path, monkeypatch)
    assert found == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("profile", "old", "new"),
    [("ro-crate-1.3", '"version": "', '"edition": "'), ("provenance-run-crate-0.5", '"instrument"', '"agent"')],
)
def test_roc_validator_would_find_it(made, profile, old, new, tmp_path, monkeypatch):
    path = made.folder / crate.METADATA
    path.write_text(path.read_text().replace(old, new))
    assert validated(made.folder, profile, tmp_path, monkeypatch)


def validated(folder, profile, tmp_path, monkeypatch):
    """What roc-validator finds of severity REQUIRED, with the context from the library instead of the web."""
    pytest.importorskip("rocrate_validator", reason="roc-validator is not installed (extra `crate`)")
    from rocrate_validator import models, services
    from rocrate_validator.utils import http

    old, path = profile.endswith("0.5"), folder / crate.METADATA
    terms = {**vocabs.RO_CRATE["@context"], **(OLD if old else {})}
    if old:
        path.write_text(path.read_text().replace("w3id.org/ro/crate/1.3", "w3id.org/ro/crate/1.1"))

    def get(url, **_):
        assert re.fullmatch(r"https://w3id.org/ro/crate/1.[13]/context", url), url
        document = json.dumps({"@context": terms})
        return SimpleNamespace(status_code=200, headers={"Content-Type": "application/ld+json"}, text=document, url=url,
                               content=document.encode(), json=lambda: json.loads(document))  # fmt: skip

    monkeypatch.setattr(http.HttpRequester, "get", staticmethod(get), raising=False)
    settings = {"rocrate_uri": str(folder), "profile_identifier": profile, "offline": True,
                "requirement_severity": models.Severity.REQUIRED, "cache_path": tmp_path / "cache"}  # fmt: skip
    return [f"{issue.check.identifier}: {issue.message}" for issue in services.validate(settings).get_issues()]
