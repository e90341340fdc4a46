import pickle

import orjson
import pytest

from segmentation.ml import artifacts
from segmentation.ml.schema import CHURN, LearningError
from segmentation.ml.storage import ArtifactError


@pytest.fixture
def artifact(estimators, tmp_path):
    artifacts.save(estimators["served"], tmp_path / "artifact")
    return tmp_path / "artifact"


def rewrite_manifest(artifact, **changes):
    path = artifact / artifacts.MANIFEST
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **changes}))


def test_the_manifest_names_every_file(artifact):
    manifest = artifacts.verify(artifact)
    found = {p.relative_to(artifact).as_posix() for p in artifact.rglob("*") if p.is_file()}
    assert found == set(manifest.files) | {artifacts.MANIFEST}
    assert manifest.estimator == "served"


def test_a_changed_file_is_refused(artifact):
    name = "estimator/0_btyd/model.safetensors"
    content = bytearray((artifact / name).read_bytes())
    content[-1] ^= 1
    (artifact / name).write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="0_btyd/model.safetensors .*changed"):
        artifacts.load(artifact)


def test_a_missing_file_is_refused(artifact):
    (artifact / "model.json").unlink()
    with pytest.raises(ArtifactError, match=r"lacks the file model\.json"):
        artifacts.load(artifact)


def test_an_added_file_is_refused(artifact):
    (artifact / "extra.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"does not name: extra\.json"):
        artifacts.load(artifact)


def test_a_pickle_is_refused_even_if_the_manifest_names_it(artifact):
    (artifact / "model.pkl").write_bytes(pickle.dumps({"weights": 1}))
    path = artifact / artifacts.MANIFEST
    files = orjson.loads(path.read_bytes())["files"]
    rewrite_manifest(artifact, files={**files, "model.pkl": artifacts._sha256(artifact / "model.pkl")})
    with pytest.raises(ArtifactError, match="can run code"):
        artifacts.load(artifact)


def test_a_path_out_of_the_folder_is_refused(artifact):
    path = artifact / artifacts.MANIFEST
    files = orjson.loads(path.read_bytes())["files"]
    rewrite_manifest(artifact, files={**files, "../secret.json": "0" * 64})
    with pytest.raises(ArtifactError, match="outside its folder"):
        artifacts.load(artifact)


def test_an_unknown_format_is_refused(artifact):
    rewrite_manifest(artifact, format=99)
    with pytest.raises(ArtifactError, match="format 99"):
        artifacts.load(artifact)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"no file manifest\.json"):
        artifacts.load(tmp_path)


@pytest.mark.parametrize("content", [b"not json", b"[]", b"{}"])
def test_a_broken_manifest_is_refused(artifact, content):
    (artifact / artifacts.MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError):
        artifacts.load(artifact)


def test_a_folder_in_use_is_not_written_over(artifact, estimators):
    with pytest.raises(ArtifactError, match="not empty"):
        artifacts.save(estimators["btyd"], artifact)


def test_an_unknown_estimator_is_refused_with_the_names_there_are(artifact):
    rewrite_manifest(artifact, estimator="oracle")
    with pytest.raises(LearningError, match="btyd, logistic, .*lightgbm, mlp"):
        artifacts.load(artifact)
    with pytest.raises(LearningError, match="oracle"):
        artifacts.create("oracle", targets=[CHURN], columns=[])


@pytest.mark.parametrize("name", artifacts.COMBINED)
def test_a_combined_model_is_not_created_by_name(name):
    with pytest.raises(LearningError, match="fitted members"):
        artifacts.create(name, targets=[CHURN], columns=[])
