"""The scikit-learn estimators' laws: exact for their public game, at ease with any table."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from harsanyi import HarsanyiClassifier, HarsanyiRegressor
from harsanyi.presets import live_shares
from tests.small_nets import by_definition

FAST = {"parts": ("gated",), "bags": 2, "epochs": 10, "random_state": 0}
EXACT = {**FAST, "dtype": "float64"}

EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a weight scales a row's loss; repeating the row also changes the batches it is in"
    ),
    "check_methods_sample_order_invariance": (
        "in float32 a row's last bit depends on its place in the batch; float64 passes"
    ),
}


def table(b: int = 240, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers, categories of every dtype, and missing values in each kind."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, b),
            "city": rng.choice(["Rome", "Oslo", "Lima"], b),
            "grade": pd.Categorical(rng.choice(["a", "b"], b), categories=["b", "a", "never"]),
            "member": rng.random(b) < 0.5,
            "visits": rng.integers(0, 5, b),
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::11, "city"] = None
    score = frame["age"].fillna(30) / 10 - 4 + (frame["city"] == "Oslo") * 2 - frame["member"]
    return frame, np.where(score + rng.normal(0, 0.5, b) > 0, "yes", "no")


@pytest.fixture(scope="module")
def fitted() -> tuple[HarsanyiClassifier, pd.DataFrame]:
    frame, y = table()
    return HarsanyiClassifier(**EXACT).fit(frame, y), frame


def definition_error(model, frame, present_of=None) -> float:
    """Largest difference of `explain` from the definition on the public logits."""
    play = getattr(model, "logits", None) or model.outputs
    values = model.explain(frame).values
    worst = 0.0
    for i in range(len(frame)):
        row = frame.iloc[[i]]

        def v(masks, row=row):
            rows = pd.concat([row] * len(masks))
            return torch.from_numpy(play(rows, present=masks.numpy()))

        worst = max(worst, float((values[i] - by_definition(v, values.shape[1])).abs().max()))
    return worst


def test_classifier_explains_its_public_logits_exactly(fitted):
    model, frame = fitted
    assert definition_error(model, frame.iloc[:4]) <= 1e-10
    e = model.explain(frame)
    gap = e.values.sum(1).numpy() - (model.logits(frame) - e.base_values.numpy())
    assert np.abs(gap).max() <= 1e-12 * max(1, np.abs(model.logits(frame)).max())
    assert (e.diagnostics["additivity_gap"].abs() <= 1e-12).all()
    assert e.exact
    assert list(e.player_names()) == list(frame.columns) == model.players_
    assert e.output_names() == ("no", "yes")
    assert torch.allclose(e.diagnostics["order_spectrum"].sum(1), torch.ones(1).double())


@pytest.mark.parametrize("preset", [None, "chen2023"])
@pytest.mark.parametrize("absence", ["mask", "baseline"])
def test_every_semantics_and_preset_is_exact(preset, absence):
    frame, y = table()
    recipe = {} if preset is None else {"preset": preset, "parts": None, "bags": None}
    model = HarsanyiClassifier(**(EXACT | recipe), absence=absence).fit(frame, y)
    assert definition_error(model, frame.iloc[:3]) <= 1e-10


def test_writing_the_baseline_is_absence_in_baseline_semantics():
    X, y = load_breast_cancer(return_X_y=True)
    model = HarsanyiClassifier(**FAST, absence="baseline").fit(X, y)
    rng = np.random.default_rng(0)
    present = rng.random((50, X.shape[1])) < 0.5
    written = np.where(present, X[:50], model.baseline_)
    assert (model.logits(written) == model.logits(X[:50], present=present)).all()
    assert model.baseline_.dtype == np.float64
    everybody_absent = model.explain(model.baseline_[None])
    assert (everybody_absent.values == 0).all()


def test_writing_a_category_of_the_baseline_is_absence_too():
    frame, y = table()
    model = HarsanyiClassifier(**FAST, absence="baseline").fit(frame, y)
    city = frame["city"].mode()[0]
    assert model.baseline_[1] == city
    assert model.baseline_[0] == pytest.approx(frame["age"].mean())
    written = frame.assign(city=city, age=model.baseline_[0])
    present = np.array([False, False, True, True, True])
    assert (model.logits(written) == model.logits(frame, present=present)).all()
    there = model.net_.presence(model.encode(frame))
    assert there[
        frame["age"].isna().to_numpy(copy=True), 0
    ].all()  # missing is a value, not absence


def test_binary_logits_are_half_the_log_odds(fitted):
    model, frame = fitted
    logits = model.logits(frame)
    assert (logits.sum(1) == 0).all()
    p = model.predict_proba(frame)
    assert np.allclose(np.log(p[:, 1] / p[:, 0]), model.decision_function(frame))
    assert (model.predict(frame) == model.classes_[logits.argmax(1)]).all()


def test_regressor_explains_in_units_of_the_target():
    frame, _ = table()
    y = 1e6 + 1e3 * frame["age"].fillna(0) + 500.0 * frame["member"]
    model = HarsanyiRegressor(**EXACT).fit(frame, y.rename("price"))
    assert model.outputs(frame).shape == (len(frame), 1)
    assert model.score(frame, y) > 0.8
    e = model.explain(frame)
    assert abs(float(e.base_values[0, 0]) - y.mean()) < y.std() * 2
    assert e.output_names() == ("price",)
    assert definition_error(model, frame.iloc[:2]) <= 1e-10 * y.max()


def test_explanations_do_not_depend_on_the_other_rows(fitted):
    model, frame = fitted
    whole = model.explain(frame).values
    order = np.random.default_rng(0).permutation(len(frame))
    assert (model.explain(frame.iloc[order]).values - whole[order]).abs().max() <= 1e-12
    assert (model.explain(frame.iloc[5:6]).values - whole[5:6]).abs().max() <= 1e-12


def test_players_of_columns_that_a_frame_lacks_are_absent(fitted):
    model, frame = fitted
    partial = frame[["member", "age"]]
    present = np.array([True, False, False, True, False])
    assert (model.logits(partial) == model.logits(frame, present=present)).all()
    values = model.explain(partial).values
    assert (values[:, ~present] == 0).all()
    assert (values == model.explain(frame, present).values).all()
    assert (model.dividends(partial).shapley() - values).abs().max() <= 1e-12
    with pytest.raises(ValueError, match="street"):
        model.logits(partial.assign(street=1).drop(columns="age"))
    with pytest.raises(ValueError, match="missing"):
        model.predict(partial)  # scikit-learn's law


def test_columns_in_another_order_or_number_are_refused(fitted):
    model, frame = fitted
    with pytest.raises(ValueError, match="order"):
        model.logits(frame[frame.columns[::-1]])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pd.DataFrame(np.zeros((2, 7))).rename(columns=str))


def test_same_seed_same_model_and_another_seed_another():
    frame, y = table()
    one, two = (HarsanyiClassifier(**FAST).fit(frame, y).logits(frame) for _ in range(2))
    assert (one == two).all()
    other = HarsanyiClassifier(**{**FAST, "random_state": 1}).fit(frame, y).logits(frame)
    assert (one != other).any()


def test_fitting_and_explaining_move_no_global_random_state():
    frame, y = table(60)
    torch.manual_seed(1)
    np.random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    HarsanyiClassifier(parts=("gated",), epochs=2).fit(frame, y).explain(frame)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()


def test_a_killed_fit_continues_to_the_same_model(tmp_path):
    frame, y = table()
    whole = HarsanyiClassifier(**FAST, checkpoint_dir=tmp_path / "a").fit(frame, y)
    again = HarsanyiClassifier(**FAST, checkpoint_dir=tmp_path / "a").fit(frame, y)
    assert (whole.logits(frame) == again.logits(frame)).all()
    with pytest.raises(ValueError, match=r"checkpoint|data"):
        HarsanyiClassifier(**FAST, checkpoint_dir=tmp_path / "a").fit(frame.assign(age=1.0), y)


def test_weights_count():
    frame, y = table()
    weight = np.where(y == "yes", 50.0, 1.0)
    plain = HarsanyiClassifier(**FAST).fit(frame, y)
    heavy = HarsanyiClassifier(**FAST).fit(frame, y, sample_weight=weight)
    classes = HarsanyiClassifier(**FAST, class_weight={"yes": 50.0, "no": 1.0}).fit(frame, y)
    share = [(m.predict(frame) == "yes").mean() for m in (plain, heavy, classes)]
    assert share[1] > share[0] + 0.05
    assert share[2] > share[0] + 0.05
    zero = np.where(np.arange(len(y)) < 200, 1.0, 0.0)
    dropped = HarsanyiClassifier(**FAST).fit(frame[:200], y[:200])
    assert (
        HarsanyiClassifier(**FAST).fit(frame, y, zero).logits(frame) == dropped.logits(frame)
    ).all()


def test_a_student_reports_what_it_loses_of_its_teacher():
    X, y = load_breast_cancer(return_X_y=True)
    teacher = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    student = HarsanyiClassifier(**{**FAST, "epochs": 40}).fit(X, y, teacher=teacher)
    report = student.distillation_
    assert report["agreement"] > 0.93
    assert report["accuracy_lost"] == pytest.approx(
        report["teacher_accuracy"] - report["accuracy"]
    )
    assert (student.classes_ == teacher.classes_).all()
    unlabelled = HarsanyiClassifier(**FAST).fit(X, teacher=teacher.predict_proba(X))
    assert set(unlabelled.distillation_) == {"agreement", "divergence"}
    numbers = HarsanyiRegressor(**FAST).fit(X, teacher=lambda X: X[:, 0] * 2.0)
    assert numbers.distillation_["agreement"] > 0.8
    with pytest.raises(ValueError, match="teacher"):
        HarsanyiClassifier(**FAST).fit(X, teacher=np.ones((3, 2)))
    with pytest.raises(ValueError, match="probabilities"):
        HarsanyiClassifier(**FAST).fit(X, teacher=np.full((len(X), 2), 2.0))


def test_pipeline_grid_search_and_clone_take_it():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X, y = X.iloc[:200], y[:200]
    model = HarsanyiClassifier(**FAST)
    pipeline = make_pipeline(FunctionTransformer(), model).fit(X, y)
    assert pipeline.score(X, y) > 0.8
    search = GridSearchCV(model, {"learning_rate": [0.001, 0.02]}, cv=2).fit(X, y)
    assert search.best_estimator_.explain(X[:2]).values.shape == (2, 30, 2)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "net_")
    assert list(search.best_estimator_.feature_names_in_) == list(X.columns)


@pytest.mark.parametrize(
    "kind", [HarsanyiClassifier, pytest.param(HarsanyiRegressor, marks=pytest.mark.slow)]
)
def test_estimators_pass_the_checks_of_scikit_learn(kind):
    model = kind(**{**FAST, "epochs": 20, "learning_rate": 0.03})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(model, expected_failed_checks=EXPECTED, on_skip=None)
    assert len(EXPECTED) <= 3
    assert len(results) > 50
    assert {r["check_name"] for r in results if r["status"] == "xfail"} <= set(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [HarsanyiClassifier, HarsanyiRegressor])
def test_the_default_recipe_passes_the_checks_of_scikit_learn(kind):
    expected = {name: EXPECTED[name] for name in list(EXPECTED)[:1]}
    model = kind(random_state=0, bags=2, epochs=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(model, expected_failed_checks=expected, on_skip=None)
    assert len(results) > 50


def test_unfitted_estimators_say_so():
    for call in ("predict", "predict_proba", "explain", "dividends", "logits", "encode"):
        with pytest.raises(NotFittedError):
            getattr(HarsanyiClassifier(), call)(np.zeros((1, 2)))


def test_bad_rows_are_refused_with_the_column_named(fitted):
    model, frame = fitted
    with pytest.raises(ValueError, match=r"'city'.*Paris|Paris.*'city'"):
        model.logits(frame.assign(city="Paris"))
    with pytest.raises(ValueError, match=r"'age'.*infinity"):
        model.logits(frame.assign(age=np.inf))
    with pytest.raises(ValueError, match="'visits'"):
        model.logits(frame.assign(visits="many"))
    with pytest.raises(ValueError, match="0 sample"):
        model.logits(frame[:0])
    with pytest.raises(TypeError, match="present"):
        model.logits(frame, present=np.ones(5))
    assert (model.logits(frame, frame.notna().to_numpy() | True) == model.logits(frame)).all()
    with pytest.raises(ValueError, match="present"):
        model.logits(frame, present=np.ones(4, dtype=bool))


def test_unknown_categories_may_count_as_missing():
    frame, y = table()
    model = HarsanyiClassifier(**FAST, unknown="missing").fit(frame, y)
    assert (
        model.logits(frame.assign(city="Paris")) == model.logits(frame.assign(city=None))
    ).all()


def test_bad_fits_are_refused_by_name():
    frame, y = table(60)
    with pytest.raises(ValueError, match="one class"):
        HarsanyiClassifier(**FAST).fit(frame, np.zeros(60))
    with pytest.raises(ValueError, match="inconsistent"):
        HarsanyiClassifier(**FAST).fit(frame, y[:5])
    with pytest.raises(TypeError, match="'day'"):
        HarsanyiClassifier(**FAST).fit(frame.assign(day=pd.Timestamp("2020-01-01")), y)
    with pytest.raises(ValueError, match="several columns named"):
        HarsanyiClassifier(**FAST).fit(frame.set_axis(["a", "b", "c", "d", "a"], axis=1), y)
    with pytest.raises(ValueError, match="sample_weight"):
        HarsanyiClassifier(**FAST).fit(frame, y, sample_weight=-np.ones(60))
    with pytest.raises(ValueError, match="zero"):
        HarsanyiClassifier(**FAST).fit(frame, y, sample_weight=np.zeros(60))
    for name, value, word in [
        ("dtype", "int8", "dtype"),
        ("absence", "gone", "absence"),
        ("coalition_weight", 1.5, "coalition_weight"),
        ("validation_fraction", 1.0, "validation_fraction"),
        ("baseline", [1.0], "baseline"),
        ("baseline", {"street": 1.0}, "street"),
        ("baseline", {"city": "Paris"}, "Paris"),
    ]:
        with pytest.raises(ValueError, match=word):
            HarsanyiClassifier(**{**FAST, name: value}).fit(frame, y)


def test_a_preset_takes_no_recipe():
    frame, y = table(60)
    for words in ({"parts": ("gated",)}, {"bags": 2}, {"parts": ("gated",), "bags": 2}):
        model = clone(HarsanyiClassifier(preset="chen2023", epochs=1, random_state=0, **words))
        assert model.get_params()["preset"] == "chen2023"
        for name in words:
            with pytest.raises(ValueError, match=f"preset='chen2023'.*{name}"):
                model.fit(frame, y)
    with pytest.raises(ValueError, match="preset='chen'"):
        HarsanyiClassifier(preset="chen", epochs=1).fit(frame, y)


def test_a_given_baseline_is_kept_raw():
    frame, y = table(100)
    model = HarsanyiClassifier(**FAST, baseline={"age": 0.1, "city": "Lima"}).fit(frame, y)
    assert model.baseline_[:2].tolist() == [0.1, "Lima"]
    row = [0.1, "Lima", "a", True, 2]
    model = HarsanyiClassifier(**FAST, baseline=row, absence="baseline").fit(frame, y)
    assert model.baseline_.tolist() == row
    e = model.explain(pd.DataFrame([row], columns=frame.columns))
    assert (e.values == 0).all()


def test_blocks_of_the_published_net_stay_alive_in_training():
    X, y = load_breast_cancer(return_X_y=True)
    model = HarsanyiClassifier(preset="chen2023", random_state=0).fit(X, y)
    assert min(live_shares(model.net_, model.encode(X))[0]) >= 0.2
    assert model.score(X, y) > 0.93


def test_half_masked_rows_keep_their_accuracy():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    train, test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    model = HarsanyiClassifier(random_state=0).fit(train, y_train)
    rng = np.random.default_rng(0)
    scores = [
        (
            model.classes_[model.logits(test, rng.random(test.shape) < 0.5).argmax(1)] == y_test
        ).mean()
        for _ in range(20)
    ]
    assert np.mean(scores) >= 0.90
    assert model.score(test, y_test) >= 0.93
    assert model.measures_["masked_score"] > 0.85
    assert model.measures_["exactness"] <= 1e-5
    assert model.explain(test).diagnostics["order_spectrum"].mean((0, 2))[-1] < 0.5


def test_pictures_name_categories_before_and_after_saving(tmp_path):
    frame = pd.DataFrame({"colour": ["red", "blue"] * 20, "size": np.arange(40.0)})
    model = HarsanyiClassifier(epochs=1, random_state=0).fit(frame, ["a", "b"] * 20)
    model.save_pretrained(tmp_path)
    for told in (model, HarsanyiClassifier.from_pretrained(tmp_path)):
        ax = told.explain(frame[:1]).plot.waterfall(0)
        assert "colour = red" in {tick.get_text() for tick in ax.get_yticklabels()}
