"""The study as an RO-Crate: a JSON-LD document of its files, stages, parameters, software, licence and citation.

RO-Crate 1.3 (w3id.org/ro/crate/1.3) and its profile Provenance Run Crate 0.6 (w3id.org/ro/wfrun/provenance/0.6):
dvc.yaml is the workflow, a stage's script its tool, what dvc.lock says of a stage its run. When and by whom it was
run is left out, so equal studies give equal bytes. A file that the crate lacks has an identifier that starts with #
and its path as `localPath`; the workflow itself must be there.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model import ComputerLanguage, ContextEntity, Entity  # type: ignore[import-untyped]
from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]

from ptychodose.archive import crate_files
from ptychodose.archive.crate_files import Run
from ptychodose.errors import StudyError
from ptychodose.formats.atomic import atomic_folder, sha256_file

VERSION = "1.3"
METADATA, WORKFLOW = "ro-crate-metadata.json", "dvc.yaml"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.6": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.6": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.6": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.1": "Workflow RO-Crate",
}
FORMATS = {
    ".cff": "application/yaml", ".csv": "text/csv", ".cxi": "application/x-hdf5", ".h5": "application/x-hdf5",
    ".json": "application/json", ".md": "text/markdown", ".png": "image/png",
    ".py": "text/x-python", ".toml": "application/toml", ".yaml": "application/yaml", ".zip": "application/zip",
    "dvc.lock": "application/yaml",
}  # fmt: skip


def write(out: Path, with_data: bool) -> int:
    """Write the crate of the study in the current folder to the folder `out`; returns the number of files it
    describes. Without `with_data` it is the metadata, which names files by path, size and SHA256, and dvc.yaml.

    Raises StudyError when `verify` finds anything, when `out` holds anything but an earlier crate, and
    when the disk fails; `out` then stays as it was.
    """
    _check_target(out)
    runs, files = crate_files.read()
    held = files if with_data else {WORKFLOW: files[WORKFLOW]}
    crate = _describe(runs, files, held)
    try:
        with atomic_folder(out) as folder:
            crate.write(folder)
            for path, sha256 in held.items():
                if sha256_file(folder / path) != sha256:
                    raise StudyError(f"{path}: changed while it was copied; write the crate again")
    except OSError as error:
        raise StudyError(f"{error.filename or out}: {error.strerror}; check free space and permissions") from None
    return len(files)


def _check_target(out: Path) -> None:
    """An earlier crate may be replaced, nothing else."""
    if not out.is_symlink() and (not out.exists() or (out.is_dir() and not any(out.iterdir()))):
        return
    if out.is_symlink() or not (out / METADATA).is_file() or (out / ".git").exists():
        raise StudyError(f"{out}: exists and is not a crate; name another folder with --out")


def _describe(runs: list[Run], files: Mapping[str, str], held: Mapping[str, str]) -> ROCrate:
    crate, versions = ROCrate(version=VERSION), dict(_locked_versions())
    _describe_root(crate)
    entities = {path: _file(crate, path, sha256, path in held) for path, sha256 in files.items()}
    for path in {WORKFLOW, *(run.script for run in runs)}:  # also code; the library sets a type only when it makes one
        more = ["ComputationalWorkflow"] if path == WORKFLOW else []
        entities[path].properties().update({"@type": ["File", "SoftwareSourceCode", *more], "name": path})
    properties = {"name": "DVC", "url": "https://dvc.org", "identifier": "https://dvc.org", "version": versions["dvc"]}
    workflow = entities[WORKFLOW]
    workflow["programmingLanguage"] = crate.add(ComputerLanguage(crate, "https://dvc.org/", properties))
    workflow["hasPart"] = [entities[path] for path in sorted({run.script for run in runs})]
    workflow["softwareRequirements"] = [
        _add(crate, f"https://pypi.org/project/{name}/{version}/", "SoftwareApplication", name=name, version=version,
             softwareVersion=version, url=f"https://pypi.org/project/{name}/{version}/")
        for name, version in versions.items()
    ]  # fmt: skip
    crate.mainEntity = workflow
    crate.root_dataset["mentions"] = _actions(crate, runs, entities)
    entities["README.md"]["about"] = crate.root_dataset
    return crate


def _add(crate: ROCrate, identifier: str, kind: str | list[str], **properties: Any) -> Entity:
    """Something that is no file, added once however often it is named."""
    return crate.get(identifier) or crate.add(ContextEntity(crate, identifier, {"@type": kind, **properties}))


def _describe_root(crate: ROCrate) -> None:
    """Title, authors, date and licence of CITATION.cff; the description of pyproject.toml."""
    cited, root = crate_files.citation(), crate.root_dataset
    root["name"], root["version"], root["datePublished"] = cited["title"], str(cited["version"]), _date(cited)
    root["description"], root["keywords"] = crate_files.project()["description"], list(cited.get("keywords", []))
    root["author"] = [_author(crate, number, row) for number, row in enumerate(cited["authors"], 1)]
    licence, said = f"https://spdx.org/licenses/{cited['license']}", "Licence of all files: see LICENSE"
    root["license"] = _add(crate, licence, "CreativeWork", name=cited["license"], description=said)
    root["conformsTo"] = [
        _add(crate, profile, ["CreativeWork", "Profile"], name=name, version=profile.rsplit("/", 1)[1])
        for profile, name in PROFILES.items()
    ]


def _date(cited: Mapping[str, Any]) -> str:
    """Day of the release, else of the last commit: never today, so that equal studies give equal bytes."""
    if "date-released" in cited:
        return str(cited["date-released"])
    done = subprocess.run(["git", "show", "-s", "--format=%cs", "HEAD"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StudyError("CITATION.cff: no date-released, and no commit to take a date from; add one")
    return done.stdout.strip()


def _author(crate: ROCrate, number: int, row: Mapping[str, Any]) -> Entity:
    """A person, or an entity of the citation file format, which has a name in one piece."""
    identifier = str(row.get("orcid") or row.get("website") or f"#author-{number}")
    person = " ".join(str(row[key]) for key in ("given-names", "family-names") if key in row)
    return _add(crate, identifier, "Organization" if "name" in row else "Person", name=row.get("name", person))


def _file(crate: ROCrate, path: str, sha256: str, held: bool) -> Entity:
    kind = FORMATS.get(path) or FORMATS.get(Path(path).suffix, "text/plain")
    properties = {"contentSize": str(Path(path).stat().st_size), "sha256": sha256, "encodingFormat": kind}
    if held:
        return crate.add_file(path, path, properties=properties)
    entity = _add(crate, f"#file/{quote(path)}", "File", localPath=path, **properties)
    crate.root_dataset.append_to("hasPart", entity)
    return entity


def _actions(crate: ROCrate, runs: list[Run], entities: Mapping[str, Entity]) -> list[Entity]:
    """The run of the workflow, from what no stage makes to what all make, then that of every stage."""
    made = {path for run in runs for path in run.makes}
    used = {path for run in runs for path in run.uses} - made
    whole = Run("the whole study", "dvc repro", WORKFLOW, sorted(used), sorted(made), {})
    named = {"#study": whole} | {f"#stage/{run.stage}": run for run in runs}
    return [_action(crate, identifier, run, entities) for identifier, run in named.items()]


def _action(crate: ROCrate, identifier: str, run: Run, entities: Mapping[str, Entity]) -> Entity:
    """One run; files are named before parameters."""
    used = [entities[path] for path in run.uses] + [_parameter(crate, *item) for item in run.parameters.items()]
    about = {"name": run.stage, "description": run.command}
    return crate.add_action(entities[run.script], identifier, used, [entities[path] for path in run.makes], about)


def _parameter(crate: ROCrate, name: str, value: Any) -> Entity:
    """One parameter of dvc.lock; JSON-LD drops null and merges lists, so these are kept as JSON text."""
    text = json.dumps(value)
    kept = value if isinstance(value, bool | int | float | str) else text
    return _add(crate, f"#parameter/{quote(name)}={quote(text, safe='')}", "PropertyValue", name=name, value=kept)


def _locked_versions() -> list[tuple[str, str]]:
    """Name and locked version of the libraries that pyproject.toml asks for."""
    wanted = {re.split(r"[^\w.-]", requirement)[0] for requirement in crate_files.project()["dependencies"]}
    pins = re.findall(r"^([\w.-]+)==([\w.+-]+)", Path("requirements.lock").read_text(encoding="utf-8"), re.M)
    return [(name, version) for name, version in pins if name in wanted]
