"""Laws of models of images: what is fitted explains itself, is saved whole, and takes any picture."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers.utils import logging

from baselines import PresenceGame, exact_shapley
from bench.problems.images import load_pictures
from harsanyi import HarsanyiConfig, HarsanyiForImageClassification
from harsanyi.image_config import growing_blocks
from harsanyi.image_fitting import ImageSchedule, augmented
from harsanyi.pixels import as_images, channels_of
from harsanyi.pretrained import HarsanyiOutput

logging.disable_progress_bar()

QUICK = ImageSchedule(epochs=2, batch_size=64)
FRESH = """
import sys
from safetensors.torch import load_file, save_file
import harsanyi.pretrained
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1])
e = model.explain(load_file(sys.argv[2])["x"])
save_file({"values": e.values.contiguous(), "baseline": model.net.baseline}, sys.argv[3])
"""


def small(players: str = "patches", **options):
    """An untrained model of 8 x 8 pictures."""
    options = {"width": 8, "blocks": 3} | options
    if players == "patches":
        options = {"patch": 2} | options
    return HarsanyiForImageClassification(HarsanyiConfig.image(8, players, **options))


@pytest.fixture(scope="module")
def digits():
    return load_pictures("digits", "train"), load_pictures("digits", "test")


@pytest.fixture(scope="module")
def fitted(digits):
    """A model of digits of 16 patches, trained for some epochs."""
    config = HarsanyiConfig.image(size=8, players="patches", patch=2, width=32, blocks=4)
    net = HarsanyiForImageClassification(config)
    schedule = ImageSchedule(epochs=12, batch_size=64)
    return net.fit(*digits[0], schedule=schedule, validation=digits[1], progress=False)


def test_digits_are_read_well_from_patches_and_from_half_of_them(fitted, digits):
    measures = fitted.config.measures
    assert measures["score"] >= 0.96
    assert measures["masked_score"] >= 0.75
    assert (fitted.predict(digits[1][0]) == digits[1][1]).mean() == measures["score"]


def test_the_fitted_model_explains_pictures_exactly(fitted, digits):
    import copy

    net, x = copy.deepcopy(fitted.net).double(), fitted._pixels(digits[1][0][:2]).double()
    free = torch.arange(16) < 10

    def painted(rows, present):
        absent = present.new_zeros(len(rows), 6)
        return net(net.masked(rows, torch.cat([present, absent], 1)))

    found = net.explain(net.masked(x, free))
    truth = exact_shapley(PresenceGame(painted, x, n_players=10))
    assert (found.values[:, :10] - truth.values).abs().max() <= 1e-10


def test_players_may_be_held_absent_or_present(fitted, digits):
    image, some = digits[1][0][:1], np.arange(16) < 6
    absent, present = fitted.explain(image, some), fitted.explain(image, free=some)
    assert (absent.values[:, 6:] == 0).all()
    assert (present.values[:, 6:] == 0).all()
    assert (absent.base_values - present.base_values).abs().max() > 1e-3
    whole = fitted.net(fitted._pixels(image)).detach()
    assert (present.values.sum(1) + present.base_values - whole).abs().max() <= 1e-4


def test_a_picture_is_drawn_with_its_overlay(fitted, digits):
    e = fitted.explain(digits[1][0][0])
    assert e.shape == (1, 16, 10)
    ax = e.plot.image()
    heat = ax.images[-1].get_array()
    assert heat.shape == (4, 4)
    best = int((e.values.sum(1) + e.base_values).argmax())
    assert np.allclose(np.asarray(heat).ravel(), e.values[0, :, best])


def test_interactions_and_dividends_hold_the_same_sum(fitted, digits):
    inter = fitted.interactions(digits[1][0][:1], order=2)
    e = fitted.explain(digits[1][0][:1])
    assert (inter.values.sum(1) - e.values.sum(1)).abs().max() <= 1e-4
    assert fitted.dividends(digits[1][0][:1]).shapley().allclose(e.values, atol=1e-5)


def test_a_fresh_process_gives_equal_values(fitted, digits, tmp_path):
    x = fitted._pixels(digits[1][0][:5])
    fitted.save_pretrained(tmp_path / "model")
    save_file({"x": x}, tmp_path / "x.safetensors")
    command = [sys.executable, "-c", FRESH, tmp_path / "model", tmp_path / "x.safetensors",
               tmp_path / "out.safetensors"]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, cwd=Path(__file__).parent.parent)
    found = load_file(tmp_path / "out.safetensors")
    assert torch.equal(found["values"], fitted.explain(x).values)
    assert torch.equal(found["baseline"], fitted.net.baseline)


def test_auto_classes_and_the_processor_come_back(fitted, digits, tmp_path):
    fitted.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    for auto in (AutoModel, AutoModelForImageClassification):
        assert isinstance(auto.from_pretrained(tmp_path), HarsanyiForImageClassification)
    assert AutoConfig.from_pretrained(tmp_path).classes == list(range(10))
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    batch = processor(digits[1][0][:3])
    model = AutoModel.from_pretrained(tmp_path)
    out = model(**batch)
    assert isinstance(out, HarsanyiOutput)
    assert out.additivity_gap.abs().max() <= 1e-4
    assert torch.equal(out.shapley_values, model.explain(digits[1][0][:3]).values)
    assert (model.predict(digits[1][0]) == fitted.predict(digits[1][0])).all()
    assert model.config.measures == fitted.config.measures


@pytest.mark.parametrize(
    ("how", "error"),
    [("truncated", ValueError), ("no weights", FileNotFoundError), ("other dilation", ValueError),
     ("missing weight", ValueError), ("other version", ValueError), ("NaN", ValueError)],
)  # fmt: skip
def test_a_damaged_model_is_refused(how, error, tmp_path):
    small().save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    written = json.loads(config.read_text())
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "no weights":
        weights.unlink()
    elif how == "missing weight":
        state = load_file(weights)
        state.pop("net.bias")
        save_file(state, weights, metadata={"format": "pt"})
    elif how == "NaN":
        state = load_file(weights)
        state["net.bias"][:] = torch.nan
        save_file(state, weights, metadata={"format": "pt"})
    elif how == "other version":
        config.write_text(json.dumps({**written, "format_version": 9}))
    else:
        written["parts"][0]["blocks"][2]["residual"] = False
        config.write_text(json.dumps(written))
    with pytest.raises(error):
        HarsanyiForImageClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["classes", "outputs", "players", "id2label"])
def test_a_config_whose_names_were_changed_is_refused(name, fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    if name == "id2label":
        config[name] = dict(zip(config[name], reversed(config[name].values()), strict=True))
    else:
        config[name].reverse()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="config"):
        HarsanyiForImageClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("preset", [None, "chen2023-cnn"])
def test_a_killed_training_continues_to_the_same_weights(preset, digits, tmp_path):
    (images, labels), _ = digits

    class Stop(Exception):
        pass

    def stop(history):
        raise Stop

    def make():
        return small("cells", channels=1, preset=preset)

    data = images[:200], labels[:200]
    whole = make().fit(*data, schedule=QUICK, progress=False)
    model = make()
    import harsanyi.image_fitting as fitting

    fit, seen = fitting.fit, {}

    def every_step(*args, **options):
        seen["resumed"] = fit(*args, **options, checkpoint_seconds=0.0)
        return seen["resumed"]

    fitting.fit = every_step
    try:
        with pytest.raises(Stop):
            model.fit(
                *data, schedule=QUICK, checkpoint_dir=tmp_path, on_epoch=stop, progress=False
            )
        again = make().fit(*data, schedule=QUICK, checkpoint_dir=tmp_path, progress=False)
    finally:
        fitting.fit = fit
    assert seen["resumed"].resumed_from > 0
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_trainer_runs_unchanged(digits, tmp_path):
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    (images, labels), _ = digits
    model = small(channels=1, width=16)
    data = Dataset.from_dict(
        {"pixel_values": (images[:400, None] / 255.0).astype(np.float32), "labels": labels[:400]}
    ).with_format("torch")
    arguments = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=6, per_device_train_batch_size=32,
        learning_rate=0.01, report_to=[], disable_tqdm=True, save_strategy="no", use_cpu=True,
        logging_strategy="no", seed=0,
    )  # fmt: skip
    found = {}

    def score(prediction):
        found["x"] = (prediction.predictions.argmax(1) == prediction.label_ids).mean()
        return found

    trainer = Trainer(
        model=model, args=arguments, train_dataset=data, eval_dataset=data, compute_metrics=score
    )
    trainer.train()
    trainer.evaluate()
    assert found["x"] > 0.9


def test_any_module_can_be_the_backbone_and_its_cells_the_players(digits, tmp_path):
    (images, labels), _ = digits
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
    torch.set_rng_state(torch_state)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    model = HarsanyiForImageClassification.from_backbone(
        backbone, 8, channels=1, width=12, blocks=2
    )
    schedule = ImageSchedule(epochs=6, batch_size=64)
    model.fit(images, labels, schedule=schedule, progress=False)
    assert model.config.n_players == 16
    assert model.score(images, labels)["score"] > 0.8
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="backbone"):
        HarsanyiForImageClassification.from_pretrained(tmp_path)
    fresh = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
    loaded = HarsanyiForImageClassification.from_pretrained(tmp_path, backbone=fresh)
    assert torch.equal(loaded.explain(images[:3]).values, model.explain(images[:3]).values)
    net, x = loaded.net.double(), model._pixels(images[:1]).double()
    free = torch.arange(16) < 9

    def play(rows, present):
        return net(rows, torch.cat([present, present.new_ones(len(rows), 7)], 1))

    game = PresenceGame(play, x, n_players=9)
    values = net.explain(x, free=free).values[:, :9]
    assert (values - exact_shapley(game).values).abs().max() <= 1e-10


def test_numbers_are_served_by_problem_type(digits):
    (images, labels), _ = digits
    model = small(channels=1, problem_type="regression", n_outputs=1)
    model.fit(images[:300], labels[:300] / 9, schedule=QUICK, progress=False)
    assert model.predict(images[:4]).shape == (4, 1)
    assert "score" in model.score(images[:50], labels[:50] / 9)
    out = model(model._pixels(images[:4]), labels=torch.ones(4))
    assert out.loss == (out.logits - 1).square().mean()


def test_labels_may_be_words_and_pictures_of_any_kind(tmp_path):
    grey = np.zeros((20, 10, 12), dtype=np.uint8)
    grey[::2, :5] = 200
    names = np.array(["upper", "none"] * 10)
    model = small().fit(grey, names, schedule=QUICK, progress=False)
    assert (model.config.channels, model.config.n_outputs) == (1, 2)
    assert set(model.predict(grey)) <= {"upper", "none"}
    path = tmp_path / "a.png"
    Image.fromarray(grey[0]).save(path)
    kinds = [path, str(path), Image.open(path), grey[0], torch.from_numpy(grey[0])]
    kinds += [grey[0][..., None], np.repeat(grey[0][..., None], 3, -1), grey[0] / 255.0]
    values = torch.stack([model.explain(kind).values[0].float() for kind in kinds])
    assert (values - values[0]).abs().max() <= 1e-5
    assert model.explain([path, grey[1]]).shape[0] == 2


def test_pictures_become_tensors_by_their_shapes():
    assert as_images(np.zeros((5, 8, 8)), (8, 8), 1).shape == (5, 1, 8, 8)
    assert as_images(np.zeros((8, 8)), (8, 8), 3).shape == (1, 3, 8, 8)
    assert as_images(np.zeros((8, 8, 3), np.uint8), (8, 8), 3).shape == (1, 3, 8, 8)
    assert as_images(np.zeros((2, 8, 8, 4), np.uint8), (4, 4), 3).shape == (2, 3, 4, 4)
    assert as_images(np.full((1, 8, 8), 255, np.uint8), (8, 8), 1).max() == 1
    assert as_images(torch.zeros(3, 28, 28), (28, 28), 1).shape == (3, 1, 28, 28)
    assert as_images(torch.zeros(3, 28, 28), (28, 28), 3).shape == (1, 3, 28, 28)
    assert channels_of(np.zeros((4, 9, 9, 3))) == 3
    assert channels_of(np.zeros((4, 9, 9))) == 1
    assert channels_of([Image.new("L", (4, 4)), Image.new("RGB", (4, 4))]) == 3
    assert channels_of([np.zeros((4, 4)), np.zeros((4, 4, 3))]) == 3
    wide = Image.fromarray(np.full((4, 4), 65535, np.int32))
    dim = Image.fromarray(np.full((4, 4), 51, np.int32))
    listed = np.full((4, 4), 0.5).tolist()
    bits = np.ones((4, 4), bool)
    found = as_images([wide, dim, listed, bits], (4, 4), 1).amax((1, 2, 3))
    assert found.tolist() == pytest.approx([1.0, 0.2, 0.5, 1.0])


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ([object()], TypeError, "images holds a object"),
        ([np.zeros((2, 2, 2, 2))], ValueError, r"a picture has shape \(2, 2, 2, 2\)"),
        (np.zeros((1, 1, 1, 2, 2)), ValueError, r"images have shape \(1, 1, 1, 2, 2\)"),
        (np.zeros((1, 2, 5, 5)), ValueError, "a picture has 2 channels; the model reads 3"),
        (np.zeros((1, 4, 4), np.int64), TypeError, r"images are torch\.int64"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_shape_or_kind(given, error, said):
    with pytest.raises(error, match=said):
        as_images(given, (4, 4), 3)


def test_shifts_and_flips_move_pictures_and_draw_from_their_generator(generator):
    x = torch.arange(36.0).reshape(1, 1, 6, 6).expand(40, -1, -1, -1)
    moved = augmented(x, 2, True, generator)
    assert moved.shape == x.shape
    assert len(moved.flatten(1).unique(dim=0)) > 10
    again = augmented(x, 2, True, torch.Generator().manual_seed(0))
    assert torch.equal(moved, again)
    assert torch.equal(augmented(x, 0, False, generator), x)


def test_half_precision_sums_in_float32(fitted, digits):
    import copy

    model = copy.deepcopy(fitted).bfloat16()
    x = fitted._pixels(digits[1][0][:32])
    with torch.autocast("cpu", torch.bfloat16):
        out = fitted.net(x)
    assert out.dtype == torch.float32
    part = model.net.parts[0]
    values = part.dividends(x)
    assert values.dtype == torch.float32
    agree = model.net(x).float().argmax(1) == fitted.net(x).argmax(1)
    assert agree.float().mean() > 0.9


def test_a_shared_read_out_fits_pictures_of_any_size(digits):
    (images, labels), _ = digits
    model = small(channels=1, width=16, readout="shared")
    model.fit(images[:300], labels[:300], schedule=QUICK, progress=False)
    large = model.resized((12, 10))
    assert large.config.n_players == 30
    with torch.no_grad():
        assert torch.equal(model.resized(8).explain(images[:2]).values,
                           model.explain(images[:2]).values)  # fmt: skip
    net = large.net.double()
    x = torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def painted(rows, present):
        return net(net.masked(rows, torch.cat([present, present.new_ones(len(rows), 20)], 1)))

    truth = exact_shapley(PresenceGame(painted, x, n_players=10))
    found = net.explain(x, free=torch.arange(30) < 10)
    assert (found.values[:, :10] - truth.values).abs().max() <= 1e-10
    with pytest.raises(ValueError, match="shared"):
        small(channels=1).resized(10)


def test_an_exported_program_returns_the_attributions(digits):
    model = small(channels=1).eval()
    x = model._pixels(digits[1][0][:3])
    program = torch.export.export(model, (x,), strict=False)
    found = program.module()(x)
    assert (found.shapley_values - model(x).shapley_values).abs().max() <= 1e-5
    assert (found.logits - model(x).logits).abs().max() <= 1e-5


def test_fields_grow_slowly_and_reach_the_whole_grid():
    model = small(width=4, blocks=6)
    stencil = model.net.parts[0].stencil
    assert [int(s.sum()) for s in stencil[:4]] == [1, 2, 4, 9]
    assert stencil.flatten(1).sum(1).tolist() == [1, 2, 4, 9, 25, 49, 49]  # 4 x 4 places
    assert len(growing_blocks(10, 8, 16)) == 10
    assert growing_blocks(10, 8, 16)[-1]["dilation"] == 2


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d: HarsanyiConfig.image(8, "pixels"), ValueError, "players"),
        (lambda d: HarsanyiConfig.image(8, "cells", absence="baseline"), ValueError, "absence"),
        (lambda d: HarsanyiConfig.image(8, patch=9), ValueError, "patch"),
        (lambda d: HarsanyiConfig.image(8, preset="chen2024"), ValueError, "preset"),
        (lambda d: HarsanyiConfig.image(8, "features"), ValueError, "from_backbone"),
        (lambda d: small().fit(d[0][:4], d[1][:3], progress=False), ValueError, "labels"),
        (lambda d: small().fit(d[0][:4], [1] * 4, progress=False), ValueError, "one class"),
        (lambda d: small().fit(d[0][:0], [], progress=False), ValueError, "zero"),
        (lambda d: small().explain(np.full((8, 8), np.nan)), ValueError, "finite"),
        (lambda d: small().explain("nowhere.png"), FileNotFoundError, "nowhere"),
        (lambda d: small().explain(3), TypeError, "images"),
        (lambda d: small().explain(np.zeros((8, 8), np.int64)), TypeError, "int64"),
        (lambda d: ImageSchedule(epochs=0), ValueError, "epochs"),
        (lambda d: ImageSchedule(learning_rate=float("nan")), ValueError, "learning_rate"),
        (lambda d: ImageSchedule(precision="half"), ValueError, "precision"),
        (lambda d: small().fit(d[0][:4], [0.0, 1.0, np.nan, 1.0]), ValueError, "labels"),
        (lambda d: small().fit(d[0][:4], [None, 1, 0, 1], progress=False), ValueError, "labels"),
        (lambda d: small().fit(d[0][:4], [[0, 1]] * 4, progress=False), ValueError, "labels"),
        (lambda d: small().explain(np.zeros((2, 0, 8))), ValueError, "no pixels"),
        (lambda d: HarsanyiConfig.image("8"), ValueError, "size"),
        (lambda d: HarsanyiConfig.image((8, 8, 8)), ValueError, "size"),
        (lambda d: HarsanyiConfig.image(8, width=0), ValueError, "width"),
        (lambda d: HarsanyiConfig.image(8, patch=2.5), ValueError, "patch"),
        (lambda d: HarsanyiConfig.image(8, blocks=-1), ValueError, "blocks"),
        (lambda d: HarsanyiConfig.image(8, "cells", stem=[[8, 3, 0]]), ValueError, "stem"),
        (
            lambda d: HarsanyiForImageClassification.from_backbone(nn.Flatten(), 8),
            ValueError,
            "feature map",
        ),
    ],
)
def test_unusable_arguments_are_refused_by_name(call, error, words, digits):
    with pytest.raises(error, match=words):
        call(digits[0])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_wide_and_floating_pictures_keep_their_grey(suffix, generator, tmp_path):
    grey = torch.rand(8, 8, generator=generator).numpy()
    Image.fromarray((grey * 65535).astype(np.uint16)).save(tmp_path / f"wide.{suffix}")
    assert channels_of([tmp_path / f"wide.{suffix}"]) == 1
    kinds = [
        Image.fromarray((grey * 65535).astype(np.uint16)),
        Image.fromarray((grey * 65535).astype(np.int32)),
        Image.fromarray(grey),
        tmp_path / f"wide.{suffix}",
    ]
    for picture in kinds:
        np.testing.assert_allclose(as_images(picture, (8, 8), 1)[0, 0], grey, atol=2e-5)
    with pytest.raises(ValueError, match="32-bit"):
        as_images(Image.fromarray(np.full((8, 8), 1 << 20, np.int32)), (8, 8), 1)


def test_numbers_that_do_not_vary_have_a_finite_score(digits):
    config = HarsanyiConfig.image(8, patch=4, width=8, blocks=2, problem_type="regression")
    same = np.full(12, 2.0)
    net = HarsanyiForImageClassification(config)
    net.fit(digits[0][0][:12], same, schedule=ImageSchedule(epochs=1), progress=False)
    assert net.score(digits[0][0][:12], same)["score"] in (0.0, 1.0)


def test_a_truncated_picture_is_refused(tmp_path):
    Image.effect_noise((40, 40), 50).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"b\.png is truncated"):
        small().explain(tmp_path / "b.png")


def test_the_example_is_exact_on_pixels_and_writes_a_gallery(tmp_path, capsys):
    import importlib.util

    path = Path(__file__).resolve().parent.parent / "examples" / "images.py"
    spec = importlib.util.spec_from_file_location("example_images", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert example.main([], tmp_path, epochs=2) < 1e-10
    page = (tmp_path / "gallery.html").read_text()
    assert page.count("<img") == 12
    assert "patch" in capsys.readouterr().out


def test_the_command_line_trains_on_a_folder_and_explains_pictures(digits, tmp_path):
    from typer.testing import CliRunner

    from bench.cli import app

    (images, labels), _ = digits
    for i in range(60):
        folder = tmp_path / "data" / f"digit-{labels[i] % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(folder / f"{i}.png")
    model, page = str(tmp_path / "model"), tmp_path / "page.html"
    words = ["train", "images", str(tmp_path / "data"), "--out", model, "--epochs", "2", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["players"] == 16
    assert facts["rows"] == 12
    assert not (tmp_path / "model" / "checkpoints").exists()
    picture = str(tmp_path / "data" / f"digit-{labels[0] % 2}" / "0.png")
    out = tmp_path / "e.safetensors"
    words = ["explain", model, picture, "--html", str(page), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["predictions"][0].startswith("digit-")
    assert facts["exact"]
    assert "data:image" in page.read_text()
    assert out.is_file()
    done = CliRunner().invoke(app, ["train", "images", str(tmp_path / "nowhere"), "--out", model])
    assert done.exit_code == 2
    assert "folder" in done.stderr


@pytest.fixture
def album(tmp_path):
    """A folder of two classes with one broken picture among 24."""
    draw = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 128)):
        (tmp_path / "album" / name).mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(low, low + 128, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "album" / name / f"{i}.png")
    whole = (tmp_path / "album" / "dark" / "3.png").read_bytes()
    (tmp_path / "album" / "dark" / "broken.png").write_bytes(whole[:40])
    return tmp_path / "album"


def test_a_broken_picture_is_named_or_left_out(album, tmp_path):
    from typer.testing import CliRunner

    from bench.cli import app

    def call(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    train = ("train", "images", album, "--epochs", 1, "--out", tmp_path / "model", "--json")
    for words in (train, ("explain", tmp_path / "model", album / "dark")):
        stopped = call(*words)
        assert stopped.exit_code == 2
        assert "broken.png" in stopped.stderr
        assert "--skip-bad" in stopped.stderr
        done = call(*words, "--skip-bad")
        assert done.exit_code == 0, done.stderr
        assert "broken.png" in done.stdout
    facts = json.loads(call(*words, "--skip-bad", "--json").stdout)
    assert facts["pictures"] == 12
    assert facts["skipped"] == [str(album / "dark" / "broken.png")]
    only = call("explain", tmp_path / "model", album / "dark" / "broken.png", "--skip-bad")
    assert only.exit_code == 2
    assert "broken.png" in only.stderr


def test_a_negative_seed_is_refused(album):
    from typer.testing import CliRunner

    from bench.cli import app

    done = CliRunner().invoke(app, ["train", "images", str(album), "--seed", "-1"])
    assert done.exit_code == 2
    assert "--seed" in done.stderr


@pytest.mark.slow
def test_the_suite_measures_a_cell_and_writes_its_page(tmp_path, monkeypatch):
    import dataclasses

    from bench import image_suite

    recipes = {
        key: dataclasses.replace(recipe, schedule={**recipe.schedule, "epochs": 2})
        for key, recipe in image_suite.RECIPES.items()
    }
    monkeypatch.setattr(image_suite, "RECIPES", recipes)
    models = "patches,published"
    frame, page = image_suite.finish(tmp_path, models=models)
    assert (frame["exact_others_present"] <= 1e-10).all()
    assert (frame["exact_others_absent"] <= 1e-10).all()
    assert frame["score"].iloc[0] > 0.8
    assert frame["cpu_minutes"].gt(0).all()
    assert page.read_text().count("digits") >= 2
    again, _ = image_suite.finish(tmp_path, models=models)
    assert again.equals(frame)


def test_the_gallery_shows_pictures_and_texts(tmp_path):
    import importlib.util

    path = Path(__file__).resolve().parent.parent / "examples" / "gallery.py"
    spec = importlib.util.spec_from_file_location("example_gallery", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    page = example.main([], tmp_path, epochs=1, width=8).read_text()
    assert page.count("<img") == 6
    assert page.count('class="heatmap"') == 6
    notes = page.split('class="heatmap"')[1:]
    assert all(" &amp; " in note.split('class="note"')[1] for note in notes)
