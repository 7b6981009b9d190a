"""Content digests see content only; stages refuse inputs their producer did not write."""

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychodose.errors import StudyError
from ptychodose.formats.atomic import sha256_file
from ptychodose.study import manifest
from ptychodose.study.params import load_yaml


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {}")


def h5(path, chunks=None, value=1.0, units="m"):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a/b", data=np.full((40, 3), value), chunks=chunks)
        data.attrs["units"] = units
        file["c"] = 3
    return Path(path)


def test_content_digest_ignores_the_container_and_sees_every_value():
    plain, chunked = manifest.content_digest(h5("x.h5")), manifest.content_digest(h5("y.h5", chunks=(7, 3)))
    assert sha256_file(Path("x.h5")) != sha256_file(Path("y.h5")) and plain == chunked
    assert manifest.content_digest(h5("z.h5", value=1.0000001)) != plain
    assert manifest.content_digest(h5("z.h5", units="mm")) != plain


def test_content_digest_of_zip_and_json():
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(f"{compression}.zip", "w", compression) as archive:
            archive.write(h5("w.h5"), "w.h5")
            archive.writestr("b.json", '{"b": 1,   "a": 2}' if compression else '{"a":2,"b":1}')
    assert manifest.content_digest(Path("0.zip")) == manifest.content_digest(Path("8.zip"))


def digest_of(values, name="a/b", suffix="h5", **attributes):
    """Content digest of a file with one array, and attributes of its root."""
    path = Path(f"v.{suffix}")
    with h5py.File(path, "w") as file:
        file[name] = values
        file.attrs.update(attributes)
    return manifest.content_digest(path)


@pytest.mark.parametrize("suffix", ["h5", "cxi"])
def test_content_digest_sees_dtype_shape_and_name_where_all_bytes_are_equal(suffix):
    zeros = np.zeros((4, 6), np.int64)
    others = [zeros.view(np.float64), zeros.view(">i8"), zeros.reshape(6, 4), zeros.ravel(), np.zeros(48, np.int32)]
    assert all(other.tobytes() == zeros.tobytes() for other in others)
    digests = [digest_of(values, suffix=suffix) for values in (zeros, *others)]
    digests.append(digest_of(zeros, "a/c", suffix))
    assert len(set(digests)) == len(digests) and digest_of(zeros, suffix=suffix) == digests[0]


def test_content_digest_sees_attributes_of_the_root():
    values = np.zeros(3)
    attributes = [
        {},
        {"view": "a"},
        {"view": "b"},
        {"title": "a"},
        {"view": 0},
        {"view": 0.0},
        {"view": np.zeros(1, int)},
    ]
    digests = {digest_of(values, **each) for each in attributes}
    assert len(digests) == len(attributes)


def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return Path(path)


def test_stage_manifests_are_relative_sorted_and_repeatable():
    outputs = [write("out/b.txt", "2").parent, write("a.txt", "1")]
    for _ in range(2):
        path = manifest.write_stage_manifest("train_x", [Path("a.txt")], outputs, {"threads": 1})
        text = path.read_text()
    document = json.loads(text)
    assert [row["path"] for row in document["outputs"]] == ["a.txt", "out/b.txt"]
    assert str(Path.cwd()) not in text and document["environment"] == {"threads": 1}
    assert path.read_text() == text


def test_no_build_label_is_recorded(monkeypatch):
    for build in ("2.13.0+cpu", "2.13.0+cu130", "2.13.0"):
        monkeypatch.setattr("torch.__version__", build)
        assert manifest.environment()["torch"] == "2.13.0"


def test_inputs_must_be_what_the_producer_wrote():
    write("out/a.txt", "1"), write("out/b.txt", "2")
    manifest.write_stage_manifest("generate", [], [Path("out")])
    manifest.check_inputs("generate", [Path("out"), Path("out/a.txt")])
    write("out/c.txt", "3")
    with pytest.raises(StudyError, match=r"out/c\.txt: not recorded"):
        manifest.check_inputs("generate", [Path("out")])
    Path("out/c.txt").unlink()
    write("out/a.txt", "X")
    with pytest.raises(StudyError, match=r"out/a\.txt: differs"):
        manifest.check_inputs("generate", [Path("out/a.txt")])
    Path("out/a.txt").unlink()
    with pytest.raises(StudyError, match=r"out/a\.txt: missing"):
        manifest.check_inputs("generate", [Path("out")])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', "{"])
def test_damaged_manifests_are_one_line(text):
    write("data/manifests/generate.json", text)
    with pytest.raises(StudyError, match="damaged"):
        manifest.check_inputs("generate", [])
    with pytest.raises(StudyError, match="not found"):
        manifest.check_inputs("overlap", [])


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (None, "no stages"),
        ([], "no stages"),
        ({"generate": {}}, "no stages"),
        ({"generate": ["a"]}, "'a' is no file"),
        ({"generate": [{"path": "../a", "bytes": 1}]}, "'../a' is not a path inside the study"),
        ({"generate": [{"path": "a", "bytes": 1, "sha256": "0" * 64}]}, "no SHA256"),
    ],
)
def test_damaged_joined_manifests_are_one_line(stages, words):
    write("manifest.json", json.dumps({"schema": 1, "stages": stages}))
    with pytest.raises(StudyError, match=f"manifest.json: damaged manifest.*{words}") as caught:
        manifest.read(manifest.JOINED)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["manifest.json", "data/manifests/generate.json", "params.yaml"])
def test_an_unfinished_merge_is_called_so(path):
    write(path, '<<<<<<< HEAD\n{"schema": 1}\n=======\n{}\n>>>>>>> other\n')
    with pytest.raises(StudyError, match=f"{path}: .*marks of a merge: `git checkout --ours`"):
        load_yaml(path) if path.endswith("yaml") else manifest.read(Path(path))


def test_a_manifest_is_of_the_stage_it_is_named_after():
    made = manifest.write_stage_manifest("generate", [write("/".join([str(Path.cwd()), "base.yaml"]), "1")], [])
    assert manifest.read(made)["stage"] == "generate", "a base may lie anywhere"
    made.rename(made.with_name("overlap.json"))
    with pytest.raises(StudyError, match="no record of stage overlap"):
        manifest.read(made.with_name("overlap.json"))


def test_of_what_a_stage_read_only_the_bytes_are_digested():
    """A user's file holds what it likes: an NPZ of objects or of gigabytes of zeros is not unpacked for a digest."""
    np.savez_compressed("base.npz", x=np.array([{}], dtype=object), zeros=np.zeros(2**24))
    made = manifest.read(manifest.write_stage_manifest("generate", [Path("base.npz")], [write("out.txt", "1")]))
    assert set(made["inputs"][0]) == {"path", "bytes", "sha256"} and "content_sha256" in made["outputs"][0]
