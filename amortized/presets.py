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

    Args:
        price: Of a selected player in nats; the paper's lambda is this times the players.

    Returns:
        Keywords of `LEX.for_tabular` and `LEX.for_images`.

    Source: Jethani, Sudarshan, Aphinyanaphongs and Ranganath (2021).
    """
    return {
        "imputer": BaselineImputer(0.0),
        "gradient": Rebar(temperature=0.1),
        "regime": "surrogate",
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


def lex_fixed(imputer: Imputer, target_rate: float | None = None) -> dict[str, Any]:
    """LEX on a predictor that is trained on full inputs and kept: the regime that cannot leak.

    Args:
        imputer: Draws what is not selected, such as `GaussianImputer.fit(X)`.
        target_rate: Share of players to select.

    Returns:
        Keywords of `LEX.for_tabular` and `LEX.for_images`.

    Source: Senetaire et al. (2023).
    """
    return {
        "imputer": imputer,
        "target_rate": target_rate,
        "regime": "frozen",
        "m": 2,
        "imputations": 4,
    }


def lex_joint(imputer: Imputer, target_rate: float | None = None) -> dict[str, Any]:
    """LEX whose predictor starts from full inputs and then moves with the selector.

    Args:
        imputer: Draws what is not selected.
        target_rate: Share of players to select.

    Returns:
        Keywords of `LEX.for_tabular` and `LEX.for_images`.

    Source: Senetaire et al. (2023).
    """
    return lex_fixed(imputer, target_rate) | {"regime": "free", "pretrain": True}
