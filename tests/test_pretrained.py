"""The transformers shell's laws: what is saved comes back, bit for bit or not at all."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from baselines import PresenceGame, exact_shapley
from harsanyi import HarsanyiClassifier, HarsanyiRegressor
from harsanyi.pretrained import HarsanyiConfig, HarsanyiForClassification, HarsanyiOutput
from harsanyi.saving import shell_config
from tests.small_nets import make_net, presence_spec, rows, value_spec
from tests.test_harsanyi_estimator import table

logging.disable_progress_bar()

FRESH = """
import sys, torch
from safetensors.torch import load_file, save_file
import harsanyi.pretrained
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1])
out = model(load_file(sys.argv[2])["x"])
save_file({"logits": out.logits.detach(), "values": out.shapley_values.detach().contiguous(),
           "baseline": model.net.baseline}, sys.argv[3])
"""


def shell(kind: str = "presence", **options) -> HarsanyiForClassification:
    """A small model with a random fitted net."""
    spec = value_spec(2) if kind == "value" else presence_spec(5, 2, learned=kind == "learned")
    baseline = torch.full((5,), 0.1, dtype=torch.float64)
    net = make_net(spec, 5, 3, absence="baseline", baseline=baseline, dtype=torch.float32)
    config = HarsanyiConfig(
        n_players=5, n_outputs=3, parts=[net.parts[0].spec], absence="baseline", **options
    )
    return HarsanyiForClassification(config, net).eval()


@pytest.mark.parametrize("kind", ["presence", "learned", "value"])
def test_a_fresh_process_gives_equal_logits_and_values(kind, tmp_path):
    model, x = shell(kind), rows(20, 5)
    x[0, 0] = 0.1
    model.save_pretrained(tmp_path / "model")
    save_file({"x": x}, tmp_path / "x.safetensors")
    command = [sys.executable, "-c", FRESH, tmp_path / "model", tmp_path / "x.safetensors",
               tmp_path / "out.safetensors"]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, cwd=Path(__file__).parent.parent)
    found, out = load_file(tmp_path / "out.safetensors"), model(x)
    assert torch.equal(found["logits"], out.logits)
    assert torch.equal(found["values"], out.shapley_values)
    assert torch.equal(found["baseline"], model.net.baseline)


def test_output_carries_exact_values_and_their_gap():
    model, x = shell().double(), rows(3, 5)
    out = model(x, labels=torch.tensor([0, 1, 2]))
    assert isinstance(out, HarsanyiOutput)
    truth = exact_shapley(PresenceGame(model.net, x))
    assert (out.shapley_values - truth.values).abs().max() <= 1e-10
    assert (out.base_values - truth.base_values).abs().max() <= 1e-10
    assert out.additivity_gap.abs().max() <= 1e-12
    assert out.loss == torch.nn.functional.cross_entropy(out.logits, torch.tensor([0, 1, 2]))
    assert len(model(x, return_dict=False)) == 4
    assert (model.explain(x).values == out.shapley_values).all()
    absent = torch.tensor([True, True, False, True, True])
    assert (model(x, present=absent).shapley_values[:, 2] == 0).all()


def test_auto_classes_know_the_model(tmp_path):
    model = shell()
    model.save_pretrained(tmp_path)
    assert isinstance(AutoModel.from_pretrained(tmp_path), HarsanyiForClassification)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), HarsanyiConfig)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_loading_in_another_dtype_keeps_the_baseline(tmp_path):
    model = shell()
    model.save_pretrained(tmp_path)
    for dtype in (torch.float64, torch.bfloat16):
        loaded = AutoModel.from_pretrained(tmp_path, dtype=dtype)
        assert loaded.net.bias.dtype == dtype
        assert torch.equal(loaded.net.baseline, model.net.baseline)
        assert not loaded.net.presence(model.net.baseline[None]).any()


def test_a_fresh_model_trains_with_trainer_unchanged(tmp_path):
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    spec = presence_spec(4, 1, learned=False)
    config = HarsanyiConfig(n_players=4, n_outputs=2, parts=[spec])
    model = HarsanyiForClassification(config)
    model.net.parts[0].blocks[0].connect([[0], [1], [2], [3]] + [[0, 1]] * 6)
    x = rows(256, 4)
    data = Dataset.from_dict({"x": x.numpy(), "labels": (x[:, 0] > 0).long().numpy()})
    data = data.with_format("torch")
    arguments = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=8, per_device_train_batch_size=32,
        learning_rate=0.02, report_to=[], disable_tqdm=True, save_strategy="no", use_cpu=True,
        logging_strategy="no", seed=0,
    )  # fmt: skip
    accuracy = {}

    def score(prediction):
        assert isinstance(prediction.predictions, np.ndarray)  # attributions were not gathered
        accuracy["x"] = (prediction.predictions.argmax(1) == prediction.label_ids).mean()
        return accuracy

    trainer = Trainer(
        model=model, args=arguments, train_dataset=data, eval_dataset=data, compute_metrics=score
    )
    trainer.train()
    trainer.evaluate()
    assert accuracy["x"] > 0.9


@pytest.mark.parametrize("kind", ["presence", "learned", "value"])
def test_an_exported_program_returns_the_attributions(kind):
    model, x = shell(kind), rows(6, 5)
    dynamic = {"x": {0: torch.export.Dim("b", min=1, max=64)}}
    program = torch.export.export(model, (), {"x": x}, dynamic_shapes=dynamic, strict=False)
    for b in (1, 6, 20):
        x = rows(b, 5, seed=b)
        x[0, 1] = 0.1
        ours, exported = model(x), program.module()(x=x)
        assert (ours.logits - exported.logits).abs().max() <= 1e-5
        assert (ours.shapley_values - exported.shapley_values).abs().max() <= 1e-5


@pytest.mark.slow
def test_an_exported_mixture_returns_the_attributions_of_any_number_of_rows(monkeypatch):
    monkeypatch.setattr("harsanyi.recipe.mix", lambda folds, grown: torch.ones(len(grown)) / 3)
    frame, y = table()
    model = HarsanyiClassifier(bags=2, epochs=2, random_state=0).fit(frame, y)
    kinds = {part.spec["kind"] for part in model.net_.parts}
    assert kinds == {"additive", "waves", "trees"}
    x, net = model.encode(frame), HarsanyiForClassification(shell_config(model), model.net_).eval()
    dynamic = {"x": {0: torch.export.Dim("b", min=1, max=64)}}
    program = torch.export.export(net, (), {"x": x[:6]}, dynamic_shapes=dynamic, strict=False)
    for b in (1, 6, 20):
        ours, exported = net(x[-b:]), program.module()(x=x[-b:])
        assert (ours.logits - exported.logits).abs().max() <= 1e-5
        assert (ours.shapley_values - exported.shapley_values).abs().max() <= 1e-5
        assert exported.shapley_values.abs().max() > 0.1


def test_building_from_a_config_is_deterministic_and_leaves_no_uninitialised_number():
    config = HarsanyiConfig(n_players=5, n_outputs=3, parts=[presence_spec(5, 2, learned=True)])
    one, two = HarsanyiForClassification(config), HarsanyiForClassification(config)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name])
        assert not tensor.is_floating_point() or tensor.isfinite().all()
    buffers = dict(one.named_buffers())
    assert buffers.keys() <= one.state_dict().keys()  # none would be lost on the meta device


def test_regression_is_served_by_problem_type():
    config = HarsanyiConfig(
        n_players=3, n_outputs=1, parts=[presence_spec(3, 1, learned=True)],
        problem_type="regression",
    )  # fmt: skip
    model = HarsanyiForClassification(config).eval()
    out = model(rows(4, 3), labels=torch.ones(4))
    assert out.loss == (out.logits - 1).square().mean()


def damaged(folder: Path, how: str) -> None:
    """Damage a saved model."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    state = load_file(weights)
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-200])
    elif how == "no weights":
        weights.unlink()
    elif how == "no config":
        config.unlink()
    elif how == "corrupt config":
        config.write_text(config.read_text()[:-30])
    elif how == "other version":
        config.write_text(json.dumps({**json.loads(config.read_text()), "format_version": 99}))
    elif how == "missing weight":
        state.pop("net.bias")
        save_file(state, weights, metadata={"format": "pt"})
    elif how == "unknown weight":
        save_file({**state, "net.more": torch.ones(1)}, weights, metadata={"format": "pt"})
    elif how == "other shape":
        state["net.bias"] = torch.zeros(7)
        save_file(state, weights, metadata={"format": "pt"})
    elif how in ("other gamma", "other activation", "other absence"):
        written = json.loads(config.read_text())
        if how == "other gamma":
            written["parts"][0]["gamma"] = 7.0
        elif how == "other activation":
            written["parts"][0]["blocks"][-1]["activation"] = "tanh"
        else:
            written["absence"] = "mask" if written["absence"] == "baseline" else "baseline"
        config.write_text(json.dumps(written))


DAMAGES = {
    "truncated": ValueError,
    "no weights": FileNotFoundError,
    "no config": FileNotFoundError,
    "corrupt config": ValueError,
    "other version": ValueError,
    "missing weight": ValueError,
    "unknown weight": ValueError,
    "other shape": ValueError,
    "other gamma": ValueError,
    "other activation": ValueError,
    "other absence": ValueError,
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_model_is_refused(how, tmp_path):
    shell().save_pretrained(tmp_path)
    damaged(tmp_path, how)
    with pytest.raises(DAMAGES[how]):
        HarsanyiForClassification.from_pretrained(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory):
    frame = table()
    model = HarsanyiClassifier(preset="chen2023", epochs=3, random_state=0, baseline={"age": 0.1})
    model.fit(*frame)
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(folder)
    return model, frame[0], folder


def test_an_estimator_comes_back_with_all_it_knows(saved):
    model, frame, folder = saved
    loaded = HarsanyiClassifier.from_pretrained(folder)
    assert (loaded.logits(frame) == model.logits(frame)).all()
    assert torch.equal(loaded.explain(frame).values, model.explain(frame).values)
    assert loaded.players_ == model.players_
    assert loaded.baseline_.tolist() == model.baseline_.tolist()
    assert (loaded.classes_ == model.classes_).all()
    assert (loaded.predict(frame) == model.predict(frame)).all()
    assert loaded.get_params() == model.get_params()
    assert loaded.measures_ == model.measures_
    assert loaded.net_.config.outputs == model.net_.config.outputs
    assert (loaded.logits(frame[["age"]]) == model.logits(frame[["age"]])).all()


def test_transformers_reads_an_estimator_folder(saved):
    model, frame, folder = saved
    shell = AutoModel.from_pretrained(folder)
    assert (shell(model.encode(frame)).logits.detach().numpy() == model.logits(frame)).all()
    assert shell.config.id2label == {0: "no", 1: "yes"}
    assert shell.config.players == model.players_


def test_the_card_states_what_was_measured(saved):
    model, _, folder = saved
    card = (folder / "README.md").read_text()
    assert f"{model.measures_['score']:.4f}" in card
    assert f"{model.measures_['masked_score']:.4f}" in card
    assert f"{model.measures_['exactness']:.1e}" in card
    assert "order 1:" in card
    assert {p.name for p in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}


@pytest.mark.parametrize("how", [*DAMAGES, "other kind", "no folder"])
def test_a_damaged_estimator_is_refused(how, saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved[2], folder)
    kind = FileNotFoundError if how == "no folder" else DAMAGES.get(how, ValueError)
    damaged(folder, how)
    read = HarsanyiRegressor if how == "other kind" else HarsanyiClassifier
    with pytest.raises(kind):
        read.from_pretrained(tmp_path / "nowhere" if how == "no folder" else folder)


def test_configs_of_wrong_types_are_refused():
    with pytest.raises(TypeError, match="n_players"):
        HarsanyiConfig(n_players="seven")


def test_every_part_of_the_default_recipe_comes_back_through_transformers(tmp_path):
    frame, y = table()
    model = HarsanyiClassifier(bags=2, epochs=3, random_state=0).fit(frame, y)
    model.save_pretrained(tmp_path)
    shell, x = AutoModel.from_pretrained(tmp_path), model.encode(frame)
    assert (shell(x).logits.detach().numpy() == model.logits(frame)).all()
    assert torch.equal(shell(x).shapley_values, model.explain(frame).values)
    loaded = HarsanyiClassifier.from_pretrained(tmp_path)
    assert torch.equal(loaded.explain(frame).values, model.explain(frame).values)
