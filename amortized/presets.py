"""Published methods as keyword arguments: the same objects with other plug-ins.

LEX.for_tabular(n_features, n_classes, **presets.l2x(k=4))
"""

from typing import Any

from amortized.lex.gradients import Pathwise, Rebar, Reinforce
from amortized.lex.masks import ConcreteTopK
from baselines import BaselineImputer, Imputer


def l2x(k: int) -> dict[str, Any]:
    """Learning to explain: at most `k` players, zeros elsewhere, a predictor that moves along.

    Args:
        k: Draws of one player each.

    Returns:
        Keywords of `LEX.for_tabular` and `LEX.for_images`.

    Source: Chen, Song, Wainwright and Jordan (2018).
    """
    return {
        "imputer": BaselineImputer(0.0),
        "law": ConcreteTopK(k),
        "gradient": Pathwise(temperature=0.1),
        "regime": "free",
        "pretrain": False,
        "price": 0.0,
        "m": 1,
        "imputations": None,
    }


def invase(price: float = 0.01) -> dict[str, Any]:
    """INVASE: score functions against a network baseline, zeros, a predictor that moves along.

    Args:
        price: Of a selected player in nats; the paper's lambda is this times the players.

    Returns:
        Keywords of `LEX.for_tabular`.

    Source: Yoon, Jordon and van der Schaar (2019).
    """
    return {
        "imputer": BaselineImputer(0.0),
        "gradient": Reinforce("network"),
        "network_baseline": True,
        "regime": "free",
        "pretrain": False,
        "price": price,
        "m": 1,
        "imputations": None,
    }


def realx(price: float = 0.005) -> dict[str, Any]:
    """REAL-X: REBAR through a surrogate that was trained on random masks and then frozen.

    As published, the surrogate sees zeros where nothing is shown, not the masks themselves.

    Args:
        price: Of a selected player in nats; the paper's lambda is this times the players.

    Returns:
        Keywords of `LEX.for_tabular`.

    Source: Jethani, Sudarshan, Aphinyanaphongs and Ranganath (2021).
    """
    return {
        "imputer": BaselineImputer(0.0),
        "gradient": Rebar(temperature=0.1),
        "regime": "surrogate",
        "mask_channel": False,
        "price": price,
        "m": 1,
        "imputations": None,
    }


def rationale(price: float = 0.01, coherence: float = 0.02) -> dict[str, Any]:
    """Rationales: few and contiguous players, score functions, a predictor that moves along.

    Args:
        price: Of a selected player in nats.
        coherence: Of a boundary between selected and not selected neighbours, in nats.

    Returns:
        Keywords of `LEX.for_tabular`.

    Source: Lei, Barzilay and Jaakkola (2016), eq. 4.
    """
    return {
        "imputer": BaselineImputer(0.0),
        "gradient": Reinforce("none"),
        "regime": "free",
        "pretrain": False,
        "price": price,
        "coherence": coherence,
        "m": 1,
        "imputations": None,
    }


def lex_fixed(imputer: Imputer | None = None, target_rate: float | None = None) -> dict[str, Any]:
    """LEX on a predictor that is trained on full inputs and kept: the regime that cannot leak.

    Args:
        imputer: Draws what is not selected, such as `GaussianImputer.fit(X)`; None leaves it to
            the call that takes the keywords.
        target_rate: Share of players to select; None leaves it to that call, too.

    Returns:
        Keywords of `LEX.for_tabular` and `LEX.for_images`.

    Source: Senetaire et al. (2023).
    """
    given = {"imputer": imputer, "target_rate": target_rate}
    plugs = {name: plug for name, plug in given.items() if plug is not None}
    return plugs | {"regime": "frozen", "m": 2, "imputations": 4}


def lex_joint(imputer: Imputer | None = None, target_rate: float | None = None) -> dict[str, Any]:
    """LEX whose predictor starts from full inputs and then moves with the selector.

    Args:
        imputer: Draws what is not selected; None leaves it to the call that takes the keywords.
        target_rate: Share of players to select; None leaves it to that call, too.

    Returns:
        Keywords of `LEX.for_tabular` and `LEX.for_images`.

    Source: Senetaire et al. (2023).
    """
    return lex_fixed(imputer, target_rate) | {"regime": "free", "pretrain": True}


def yang2023(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - settings of several kinds
    """The amortized model of Yang et al.: one scalar per token of the predicted class.

    One linear map per player on an encoder, squared error on raw labels, no efficiency, a constant
    rate, one example at a time. The paper's players are all positions of a padded input
    (`TextModel(..., players="token", removal="pad")`), its labels 25 permutations, and its encoder
    the pretrained language model (`pretrained="bert-base-uncased"`), not the fine-tuned one.

    Args:
        changes: Training settings that differ from the paper's, such as `epochs=3`.

    Returns:
        Keywords of `AmortizedExplainer.from_target`.

    Source: Yang et al. (2023), sec. 4; settings as in their code.
    """
    settings = {"lr": 5e-5, "epochs": 30, "batch_size": 1, "weight_decay": 0.0, "schedule": False}
    return {
        "head": "linear",
        "uncertainty": False,
        "normalizer": "none",
        "classes": "predicted",
        "training": {"objective": "mse", "patience": 30, **settings, **changes},
    }


def empirical(max_length: int | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """The Empirical Explainer: one map of all positions at once, on a copy of the model's encoder.

    Args:
        max_length: Positions; the model's longest input when None. The map has
            `length * width * length + length` parameters.
        changes: Training settings that differ from the paper's, such as `epochs=3`.

    Returns:
        Keywords of `AmortizedExplainer.from_target`; the labels are a teacher's, such as
        integrated gradients: `store.generate(model, texts, teacher=...)`.

    Source: Schwarzenberg et al. (2021), sec. 3; settings as in their code.
    """
    settings = {"lr": 1e-5, "epochs": 100, "batch_size": 8, "weight_decay": 0.0, "schedule": False}
    encoder = {"padded": True} | ({} if max_length is None else {"max_length": max_length})
    return {
        "head": "flat",
        "uncertainty": False,
        "normalizer": "none",
        "classes": "predicted",
        "encoder": encoder,
        "training": {"objective": "mse", "patience": 1, **settings, **changes},
    }


def fastshap(coalitions: int = 32, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """FastSHAP: weighted least squares on fresh coalitions, values that always add up.

    Args:
        coalitions: Drawn for each example and step, in complementary pairs.
        changes: Training settings that differ from the paper's, such as `epochs=20`.

    Returns:
        Keywords of `AmortizedExplainer.from_target`; `fit` takes plain examples.

    Source: Jethani et al. (2022), alg. 1; settings as in their notebooks.
    """
    settings = {"lr": 1e-3, "epochs": 200, "batch_size": 32, "weight_decay": 0.0}
    return {
        "uncertainty": False,
        "normalizer": "additive",
        "ends": "exact",
        "training": {
            "objective": "fastshap",
            "coalitions": coalitions,
            "patience": 20,
            **settings,
            **changes,
        },
    }
