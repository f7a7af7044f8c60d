"""Laws of training: resumed is as if never killed, best weights stay, bad runs stop with a reason."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.fingerprints import content_hash
from baselines.training import AdamW, History, WarmupCosine, fit

ROOT = Path(__file__).resolve().parent.parent
KILLS = int(os.environ.get("HARSANYI_KILLS", "10"))


def make_data(rows=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, dtype=torch.float64, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def make_module(seed=0):
    """With dropout and running statistics: everything a resumed run could get wrong."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)
        return nn.Sequential(*layers).double()


def noisy_loss(module, batch, generator):
    """Draws masks as training on random coalitions does."""
    x, y = batch
    present = torch.rand(x.shape, generator=generator, dtype=x.dtype) < 0.8
    return F.cross_entropy(module(x * present), y)


def validation(module):
    x, y = make_data(seed=1)
    return float(F.cross_entropy(module(x), y))


def train(folder=None, *, module=None, data=None, loss=noisy_loss, **changes):
    module = module or make_module()
    arguments = {
        "epochs": 6,
        "batch_size": 32,
        "validate": validation,
        "optimizer": AdamW(lr=0.01),
        "schedule": WarmupCosine(),
        "config": {"width": 16},
        "key": 3,
        "checkpoint_dir": folder,
        "checkpoint_seconds": 0.0,
    }
    history = fit(module, data or make_data(), loss, **(arguments | changes))
    return module, history


class StopHere(Exception):
    """Raised by a loss to end a run in the middle of a step."""


def loss_that_stops_at(step):
    count = iter(range(10**6))

    def loss(module, batch, generator):
        if next(count) == step:
            raise StopHere
        return noisy_loss(module, batch, generator)

    loss.__qualname__ = noisy_loss.__qualname__  # the same loss, as far as a checkpoint can tell
    return loss


@pytest.fixture(scope="module")
def uninterrupted():
    return train()


def test_training_learns(uninterrupted):
    _, history = uninterrupted
    assert history.steps == 42
    assert history.epochs == 6
    assert history.scores[-1] < history.scores[0]


def test_the_same_key_gives_the_same_bits(uninterrupted):
    module, history = train()
    assert content_hash(module) == content_hash(uninterrupted[0])
    assert history.losses == uninterrupted[1].losses


@pytest.mark.parametrize("changes", [{"key": 4}, {"batch_size": 31}])
def test_another_key_or_batch_size_gives_other_weights(uninterrupted, changes):
    assert content_hash(train(**changes)[0]) != content_hash(uninterrupted[0])


@pytest.mark.parametrize("steps", [[1], [7], [20], [41], [3, 3, 5, 13]])
def test_a_run_stopped_at_any_step_resumes_to_the_same_bits(tmp_path, uninterrupted, steps):
    done = 0
    for step in steps:
        with pytest.raises(StopHere):
            train(tmp_path, loss=loss_that_stops_at(step))
        done += step
        assert (
            json.loads((tmp_path / "checkpoint.json").read_text())["state"]["history"]["steps"]
            == done
        )
    module, history = train(tmp_path)
    assert history.resumed_from == done
    assert content_hash(module) == content_hash(uninterrupted[0])
    expected = uninterrupted[1]
    assert (history.losses, history.scores, history.best_epoch) == (
        expected.losses,
        expected.scores,
        expected.best_epoch,
    )


def test_a_finished_run_is_returned_at_once(tmp_path, uninterrupted):
    train(tmp_path)
    module, history = train(tmp_path, loss=loss_that_stops_at(0))
    assert history.resumed_from == history.steps == 42
    assert content_hash(module) == content_hash(uninterrupted[0])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_any_optimizer_resumes_to_the_same_bits(tmp_path, optimizer):
    def make(module):
        if optimizer == "sgd":
            return torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
        if optimizer == "adam":
            return torch.optim.Adam(module.parameters(), lr=0.01, amsgrad=True)
        return torch.optim.RMSprop(module.parameters(), lr=0.01, centered=True)

    whole, _ = train(optimizer=make)
    with pytest.raises(StopHere):
        train(tmp_path, optimizer=make, loss=loss_that_stops_at(17))
    assert content_hash(train(tmp_path, optimizer=make)[0]) == content_hash(whole)


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.test_training import noisy_loss, train
import time
print("started", flush=True)
def slow(module, batch, generator):
    time.sleep(0.01)
    return noisy_loss(module, batch, generator)
slow.__qualname__ = noisy_loss.__qualname__
slow.__module__ = noisy_loss.__module__
train(sys.argv[2], loss=slow)
"""


@pytest.mark.parametrize("kills", [1, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_a_killed_process_resumes_to_the_same_bits(tmp_path, uninterrupted, kills):
    chance = random.Random(kills)
    for _ in range(kills):
        command = [sys.executable, "-c", KILLED, ROOT, tmp_path]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        while kills == 1 and not (tmp_path / "checkpoint.json").exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0.02, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    module, history = train(tmp_path)
    assert content_hash(module) == content_hash(uninterrupted[0])
    assert history.losses == uninterrupted[1].losses
    assert kills > 1 or 0 < history.resumed_from < 42


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": {"width": 32}}, r"config \(width\)"),
        ({"epochs": 7}, r"config \(epochs\)"),
        ({"optimizer": AdamW(lr=0.02)}, r"config \(optimizer, rates\)"),
        ({"schedule": WarmupCosine(warmup=0.1)}, r"config \(schedule\)"),
        ({"data": make_data(seed=5)}, "data"),
        ({"key": 4}, "seed"),
        ({"module": make_module(seed=1)}, "seed"),
        ({"key": 4, "data": make_data(seed=5)}, "data and seed"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, changes, named):
    with pytest.raises(StopHere):
        train(tmp_path, loss=loss_that_stops_at(5))
    with pytest.raises(ValueError, match=named):
        train(tmp_path, **changes)


@pytest.mark.parametrize("damage", ["torn", "bit", "missing", "pointer", "format"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    with pytest.raises(StopHere):
        train(tmp_path, loss=loss_that_stops_at(5))
    (weights,) = tmp_path.glob("step-*.safetensors")
    pointer, content = tmp_path / "checkpoint.json", weights.read_bytes()
    if damage == "torn":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "bit":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        weights.unlink()
    elif damage == "pointer":
        pointer.write_bytes(b"{")
    else:
        pointer.write_text(pointer.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(ValueError, match="Delete"):
        train(tmp_path)


def test_a_checkpoint_is_safetensors_and_json_and_only_the_last_is_kept(tmp_path):
    train(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint.json", "step-000000042.safetensors"]


def test_checkpointing_changes_nothing(tmp_path, uninterrupted):
    assert content_hash(train(tmp_path)[0]) == content_hash(uninterrupted[0])


def test_no_global_generator_is_read_or_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = content_hash(train(epochs=2)[0])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert content_hash(train(epochs=2)[0]) == first


def test_the_best_weights_stay():
    scores = iter([3.0, 1.0, 2.0, 4.0])
    seen = []

    def validate(module):
        seen.append(content_hash(module))
        return next(scores)

    module, history = train(epochs=4, validate=validate)
    assert history.best_epoch == 1
    assert history.best_score == 1.0
    assert content_hash(module) == seen[1]
    assert len(set(seen)) == 4
    assert not module.training


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (3, 7), (None, 8)])
def test_patience_counts_epochs_without_a_better_score(patience, epochs):
    scores = iter([3.0, 1.0, 2.0, 1.0, 0.9, 2.0, 2.0, 2.0])  # an equal score is not better
    if patience == 3:
        scores = iter([3.0, 2.0, 2.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    _, history = train(epochs=8, validate=lambda module: next(scores), patience=patience)
    assert history.epochs == epochs
    assert history.stopped_early == (patience is not None)


def test_without_validation_the_last_weights_stay():
    seen, module = [], make_module()
    _, history = train(
        module=module,
        epochs=2,
        validate=None,
        on_epoch=lambda _: seen.append(content_hash(module)),
    )
    assert content_hash(module) == seen[-1]
    assert history.best_epoch is None
    assert history.scores == []


def test_pieces_of_a_batch_give_the_whole_batchs_step():
    def plain(module, batch, generator):
        return F.cross_entropy(module(batch[0]), batch[1])

    def linear():
        module = nn.Linear(6, 2).double()
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
        return module

    whole, _ = train(module=linear(), loss=plain)
    pieces, _ = train(module=linear(), loss=plain, max_rows=5)
    torch.testing.assert_close(pieces.weight, whole.weight, rtol=1e-9, atol=1e-12)


def test_the_schedule_scales_every_rate():
    rates = []

    def make(module):
        groups = [
            {"params": [module[0].weight], "lr": 1.0},
            {"params": [module[4].weight], "lr": 0.1},
        ]
        optimizer = torch.optim.SGD(groups)
        optimizer.register_step_pre_hook(
            lambda o, *_: rates.append([group["lr"] for group in o.param_groups])
        )
        return optimizer

    train(epochs=1, optimizer=make, schedule=lambda share: 0.01 * (1 - share))
    expected = [[0.01 * (1 - step / 7), 0.001 * (1 - step / 7)] for step in range(7)]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor(expected))


def test_warmup_cosine_rises_then_falls_to_its_floor():
    schedule = WarmupCosine(warmup=0.1, floor=0.2)
    assert schedule(0.0) == 0.0
    assert schedule(0.05) == pytest.approx(0.5)
    assert schedule(0.1) == pytest.approx(1.0)
    assert schedule(0.55) == pytest.approx(0.6)
    assert schedule(1.0) == pytest.approx(0.2)
    assert WarmupCosine(warmup=0.0)(0.0) == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_loss_stops_the_run_and_names_the_step(value):
    def loss(module, batch, generator):
        if next(count) == 9:
            return noisy_loss(module, batch, generator) * value
        return noisy_loss(module, batch, generator)

    count = iter(range(100))
    with pytest.raises(FloatingPointError, match=r"at step 9 \(epoch 1\).*learning rate"):
        train(loss=loss)


@pytest.mark.parametrize(
    ("batch_size", "named"),
    [(32, "loss is nan at step 1"), (200, "weight .* not finite after step 0")],
)
def test_a_non_finite_gradient_stops_the_run(batch_size, named):
    """At the next step's loss, or at the end of the epoch when there is no next step."""

    def loss(module, batch, generator):
        zero = module[0].weight.sum() * 0.0
        return noisy_loss(module, batch, generator) + torch.sqrt(zero)  # slope inf * 0

    with pytest.raises(FloatingPointError, match=named):
        train(loss=loss, epochs=1, batch_size=batch_size)


def test_a_score_that_is_no_number_stops_the_run():
    with pytest.raises(FloatingPointError, match="validate returned NaN"):
        train(validate=lambda module: float("nan"))


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"epochs": 0}, ValueError, "epochs=0"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"max_rows": 0}, ValueError, "max_rows=0"),
        ({"patience": 0}, ValueError, "patience=0"),
        ({"patience": 3, "validate": None}, ValueError, "without validate"),
        ({"data": make_data(rows=0)}, ValueError, "zero rows"),
        ({"data": (torch.zeros(3, 6), torch.zeros(2))}, ValueError, "one row per example"),
        ({"data": ([1.0], torch.zeros(1))}, TypeError, r"data\[0\] is a list"),
        ({"module": nn.Sequential(nn.ReLU())}, ValueError, "no trainable parameter"),
        ({"loss": lambda m, b, g: m(b[0])}, ValueError, "mean"),
        ({"loss": lambda m, b, g: torch.tensor(0.0)}, ValueError, "differentiable"),
    ],
)
def test_an_unusable_argument_is_refused_by_name(changes, error, named):
    with pytest.raises(error, match=named):
        train(**changes)


class Texts:
    """Rows that are not tensors."""

    def __init__(self, texts, content_hash=None):
        self.texts = texts
        if content_hash:
            self.content_hash = content_hash

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, rows):
        return [self.texts[row] for row in rows]


def text_loss(module, batch, generator):
    lengths = torch.tensor([[float(len(text))] for text in batch], dtype=torch.float64)
    return (module(lengths) ** 2).mean()


def test_rows_may_be_anything_that_gives_batches(tmp_path):
    texts = ["a", "bb", "ccc"] * 5
    module = nn.Linear(1, 1).double()
    with pytest.raises(TypeError, match="content_hash"):
        train(tmp_path, module=module, data=Texts(texts), loss=text_loss, validate=None)
    data = Texts(texts, content_hash=content_hash(texts))
    _, history = train(tmp_path, module=module, data=data, loss=text_loss, validate=None)
    assert history.steps == 6


def test_every_row_is_seen_once_an_epoch_in_a_new_order():
    seen = []

    def loss(module, batch, generator):
        seen.append(batch[0][:, 0].clone())
        return noisy_loss(module, batch, generator)

    train(loss=loss, epochs=2)
    first, second = torch.cat(seen[:7]), torch.cat(seen[7:])
    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, make_data()[0][:, 0].sort().values)
    assert torch.equal(second.sort().values, first.sort().values)


def test_the_history_reaches_the_caller_every_epoch():
    seen = []
    train(epochs=3, on_epoch=lambda history: seen.append(history.epochs))
    assert seen == [1, 2, 3]
    assert History().epochs == 0


def test_a_bar_shows_progress(capsys):
    train(epochs=1, progress=True, description="gates")
    assert "gates: 100%" in capsys.readouterr().err
    train(epochs=1)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Batches are shared out and gradients averaged; only rounding may differ."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
    ]
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    done = subprocess.run(
        [*command, script, ROOT, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    from safetensors.torch import load_file

    first, second = load_file(tmp_path / "rank-0"), load_file(tmp_path / "rank-1")
    alone = first_linear()
    fit(alone, make_data(), plain_loss, epochs=4, batch_size=33, optimizer=AdamW(lr=0.01), key=3)
    assert torch.equal(first["weight"], second["weight"])
    torch.testing.assert_close(first["weight"], alone.weight.detach(), rtol=0, atol=1e-6)


TWO_PROCESSES = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn
from tests.test_training import AdamW, first_linear, fit, make_data, plain_loss
accelerator = Accelerator(cpu=True)
rank = accelerator.process_index
module = first_linear(fill=0.1 * rank)  # weights differ until the first one's are taken
history = fit(module, make_data(), plain_loss, epochs=4, batch_size=33, optimizer=AdamW(lr=0.01),
              key=3, checkpoint_dir=Path(sys.argv[2]) / "checkpoint", accelerator=accelerator)
save_file(module.state_dict(), f"{sys.argv[2]}/rank-{rank}")
accelerator.end_training()
"""


def first_linear(fill=0.0):
    module = nn.Linear(6, 2).double()
    nn.init.constant_(module.weight, fill)
    nn.init.zeros_(module.bias)
    return module


def plain_loss(module, batch, generator):
    return F.cross_entropy(module(batch[0] ** 2), batch[1])
