"""What push_to_hub uploads is a whole model: read back from there, it answers alike."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import hub, logging

from harsanyi import HarsanyiConfig, HarsanyiForImageClassification, HarsanyiForTextClassification
from harsanyi.image_fitting import ImageSchedule

logging.disable_progress_bar()

TEXTS = ["a good film", "not a good film", "a bad film", "not a bad film"] * 4
PICTURES = np.random.default_rng(0).random((16, 8, 8), dtype=np.float32)


class Card:
    def save(self, path):
        with open(path, "w") as file:
            file.write("---\nlibrary_name: transformers\n---\n")


class Hub:
    """A hub in a folder, with the two calls that an upload makes."""

    def __init__(self, folder):
        self.folder = folder

    def create_repo(self, repo_id, **_):
        (self.folder / repo_id).mkdir(parents=True)
        return SimpleNamespace(repo_id=repo_id)

    def create_commit(self, repo_id, operations, **_):
        for each in operations:
            place = self.folder / repo_id / each.path_in_repo
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(each.path_or_fileobj, place)


@pytest.fixture
def uploaded(tmp_path, monkeypatch):
    """Upload a model; the folder as anybody downloads it."""
    monkeypatch.setattr(hub, "hf_api", lambda: Hub(tmp_path))
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *_, **__: Card())

    def upload(model):
        model.push_to_hub("somebody/model")
        return tmp_path / "somebody" / "model"

    return upload


def test_a_model_of_texts_is_uploaded_whole(uploaded):
    model = HarsanyiForTextClassification.from_texts(
        TEXTS, [1, 0, 0, 1] * 4, width=8, epochs=1, min_count=1
    )
    folder = uploaded(model)
    loaded = AutoModel.from_pretrained(folder)
    assert torch.equal(loaded.explain(TEXTS).values, model.explain(TEXTS).values)
    assert loaded.predict(TEXTS) == model.predict(TEXTS)
    fields = AutoTokenizer.from_pretrained(folder)(TEXTS[:2], padding=True, return_tensors="pt")
    torch.testing.assert_close(loaded(**fields).logits, model.logits(TEXTS[:2]))
    assert (folder / "README.md").is_file()


def test_a_model_of_pictures_is_uploaded_whole(uploaded):
    config = HarsanyiConfig.image(size=8, patch=4, width=8, blocks=2)
    model = HarsanyiForImageClassification(config)
    model.fit(PICTURES, list("ab") * 8, schedule=ImageSchedule(epochs=1), progress=False)
    folder = uploaded(model)
    loaded = AutoModel.from_pretrained(folder)
    assert torch.equal(loaded.explain(PICTURES).values, model.explain(PICTURES).values)
    assert (loaded.predict(PICTURES) == model.predict(PICTURES)).all()
    fields = AutoImageProcessor.from_pretrained(folder)(PICTURES[:2])
    torch.testing.assert_close(
        loaded(**fields).logits, model(model.processor(PICTURES[:2])["pixel_values"]).logits
    )


def test_a_frozen_backbone_is_uploaded_with_the_model(uploaded):
    backbone = torch.nn.Conv2d(1, 4, 4, stride=4)
    model = HarsanyiForImageClassification.from_backbone(
        backbone, 8, channels=1, width=8, blocks=2
    )
    model.fit(PICTURES, list("ab") * 8, schedule=ImageSchedule(epochs=1), progress=False)
    folder = uploaded(model)
    loaded = HarsanyiForImageClassification.from_pretrained(
        folder, backbone=torch.nn.Conv2d(1, 4, 4, stride=4)
    )
    assert torch.equal(loaded.explain(PICTURES).values, model.explain(PICTURES).values)
