"""Checks 18 to 22: files cannot run code, damage is found, and nothing is written where it should not be."""

import ast
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from amortized import LEX
from baselines import Explanation, GaussianImputer, MarginalImputer, StoredImputer, shards
from tests.small_nets import rows

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("baselines", "harsanyi", "amortized", "bench")
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "yaml.load", "torch.load", "pandas.read_pickle", "pd.read_pickle"}
EXTRACTORS = {"extractall", "extract", "unpack_archive"}
ARCHIVES = {"shutil", "tarfile", "zipfile", "archive"}
TYPED = (ValueError, TypeError, OSError)


def refused(read: Callable[[], object]) -> bool:
    """Whether reading ends in a typed error that says something."""
    try:
        read()
    except TYPED as error:
        return bool(str(error))
    return False


def calls(folder: Path) -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.name}:{node.lineno}", node


def unsafe(node: ast.Call) -> bool:
    """Whether a call can run what a file says."""
    name = ast.unparse(node.func)
    words = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
    return (
        name in UNSAFE_CALLS
        or (name.split(".")[-1] in EXTRACTORS and name.split(".")[0] in ARCHIVES)
        or words.get("allow_pickle", "False") != "False"
        or "trust_remote_code" in words
    )


@pytest.mark.parametrize("package", OURS)
def test_no_call_can_run_what_a_file_says(package):
    assert not [place for place, node in calls(ROOT / package) if unsafe(node)]


@pytest.mark.parametrize(
    "line",
    ["eval(x)", "torch.load(p)", "np.load(p, allow_pickle=True)", "yaml.load(p)",
     "AutoModel.from_pretrained(d, trust_remote_code=True)", "shutil.unpack_archive(p)"],
)  # fmt: skip
def test_the_scan_sees_a_call_that_can(line):
    assert unsafe(ast.parse(line, mode="eval").body)


@pytest.mark.parametrize("package", OURS)
def test_temporary_files_have_no_fixed_names(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        assert "/tmp" not in source, path
        assert "gettempdir" not in source, path
        assert "tempfile.mktemp" not in source, path


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_a_pickle_in_place_of_weights_is_refused_and_runs_nothing(classifier, tmp_path):
    import pickle

    trace = tmp_path / "trace"
    model = tmp_path / "model"
    classifier.save_pretrained(model)
    bomb = pickle.dumps({"net.bias": Bomb(trace)})
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(bomb)
    with pytest.raises(TYPED):
        type(classifier).from_pretrained(model)
    (model / "model.safetensors").write_bytes(bomb)
    with pytest.raises(TYPED):
        type(classifier).from_pretrained(model)
    with zipfile.ZipFile(model / "model.safetensors", "w") as archive:
        archive.writestr("../../trace", b"out")
    with pytest.raises(TYPED):
        type(classifier).from_pretrained(model)
    assert not trace.exists()


def test_a_pickle_in_place_of_an_explanation_is_refused_and_runs_nothing(tmp_path):
    import pickle

    trace = tmp_path / "trace"
    path = tmp_path / "e.safetensors"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(TYPED):
        Explanation.load(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["rows.npy", "rows.pkl", "rows.parquet", "rows.csv"])
def test_a_table_that_is_a_pickle_is_refused_and_runs_nothing(name, tmp_path):
    from bench.frames import read_frame

    trace = tmp_path / "trace"
    bomb = np.empty(1, dtype=object)
    bomb[0] = Bomb(trace)
    with open(tmp_path / name, "wb") as file:
        np.save(file, bomb, allow_pickle=True)
    with pytest.raises(TYPED):
        read_frame(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "../../evil"},
        {"model_type": "bert"},
        {"parts": [{"kind": "os.system"}]},
        {"parts": [{"kind": "gated", "blocks": "__import__('os')"}]},
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"n_players": -1},
        {"n_players": 10**12},
        {"n_outputs": "many"},
        {"absence": "lambda: 0"},
    ],
)
def test_a_config_of_unknown_kinds_is_refused_or_without_effect(
    change, classifier, table, tmp_path
):
    X, _ = table
    classifier.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    if not refused(lambda: type(classifier).from_pretrained(tmp_path)):
        model = type(classifier).from_pretrained(tmp_path)
        assert np.array_equal(model.logits(X), classifier.logits(X))


def saved_files(folder: Path, classifier, X) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Every kind of file we read: its path, and what reads it."""
    explanation = folder / "e.safetensors"
    classifier.explain(X[:3]).save(explanation)
    model = folder / "model"
    classifier.save_pretrained(model)
    x = rows(40, 3)
    imputer = folder / "imputer"
    MarginalImputer(x).save_pretrained(imputer)
    lex = folder / "lex"
    fitted = LEX.for_tabular(3, 2, imputer=GaussianImputer.fit(x), width=4, random_state=0)
    fitted.fit(x, (x[:, 0] > 0).long(), epochs=1)
    fitted.save_pretrained(lex)
    job = shards.plan_job(folder / "job", {"kind": "trust"}, ["a", "b"], shard_size=1)
    shards.run(job, lambda items: {"v": torch.ones(len(items), 2)}, progress=False)
    assert shards.check(job).complete
    X.to_csv(folder / "rows.csv")
    X.to_parquet(folder / "rows.parquet")
    from bench.frames import read_frame

    def read_model() -> object:
        return type(classifier).from_pretrained(model)

    return {
        "explanation": (explanation, lambda: Explanation.load(explanation)),
        "weights": (model / "model.safetensors", read_model),
        "config": (model / "config.json", read_model),
        "lex weights": (next(lex.glob("*.safetensors")), lambda: LEX.from_pretrained(lex)),
        "lex config": (next(lex.glob("*.json")), lambda: LEX.from_pretrained(lex)),
        "imputer": (
            next(imputer.glob("*.safetensors")),
            lambda: StoredImputer.from_pretrained(imputer),
        ),
        "shard": (job.path(0), lambda: shards.load(job.folder)),
        "manifest": (next(job.folder.glob("*.json")), lambda: shards.load(job.folder)),
        "parquet": (folder / "rows.parquet", lambda: read_frame(folder / "rows.parquet")),
    }


KINDS = (
    *("explanation", "weights", "config", "lex weights", "lex config", "imputer", "shard"),
    *("manifest", "parquet"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, classifier, table) -> Path:
    made = tmp_path_factory.mktemp("files")
    saved_files(made, classifier, table[0])
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_wherever_it_ends(
    kind, folder, classifier, table, tmp_path, count
):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path, read = saved_files(copy, classifier, table[0])[kind]
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    last = len(whole.rstrip()) - 1
    ends = {0, 1, 7, 8, last, *draw.integers(0, last, count(6, 100)).tolist()}
    for end in sorted(ends):
        path.write_bytes(whole[:end])
        assert refused(read), end
    path.write_bytes(whole)
    read()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_flipped_bytes_is_refused_with_a_typed_error_or_read(
    kind, folder, classifier, table, tmp_path, count
):
    """No crash and no untyped error; where content is hashed (shards), no silent change."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    path, read = saved_files(copy, classifier, table[0])[kind]
    whole = path.read_bytes()
    draw = np.random.default_rng(1)
    for place in draw.integers(0, min(len(whole), 600), count(12, 300)).tolist():
        spoiled = bytearray(whole)
        spoiled[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(bytes(spoiled))
        assert refused(read) or kind != "shard"
