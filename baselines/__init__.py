"""The known art of explanation and the words for it: games, imputers, estimators."""

from importlib import import_module
from typing import Any

# Public name -> the file that defines it; loaded on first use (PEP 562), so that importing the
# package costs no more than torch and einops.
_HOME: dict[str, str] = {
    "AttentionRollout": "attention",
    "BaselineImputer": "imputers",
    "BlurImputer": "imagery",
    "CallableGame": "adapters",
    "CallableImputer": "imputers",
    "DeepLift": "backpropagation",
    "DonorImputer": "donors",
    "EmpiricalImputer": "donors",
    "ExpectedGradients": "paths",
    "Explainer": "explanation",
    "Explanation": "explanation",
    "FeatureEffect": "importance",
    "Game": "game",
    "GaussianImputer": "gaussian",
    "GaussianMixtureImputer": "gaussian",
    "GradientXInput": "gradients",
    "GuidedBackprop": "backpropagation",
    "Imputer": "imputers",
    "InpaintImputer": "imagery",
    "IntegratedGradients": "paths",
    "Interactions": "interactions",
    "KMeansDonorImputer": "donors",
    "LRP": "backpropagation",
    "Lime": "surrogates",
    "MarginalImputer": "imputers",
    "MaskTokenImputer": "imputers",
    "MaskedGame": "game",
    "MeanColorImputer": "imagery",
    "MixtureDonorImputer": "donors",
    "NeighborImputer": "donors",
    "NoiseImputer": "gaussian",
    "Occlusion": "surrogates",
    "PresenceGame": "game",
    "Prior": "priors",
    "RemovalExplainer": "removal",
    "SageGame": "importance",
    "Saliency": "gradients",
    "SmoothGrad": "gradients",
    "StoredImputer": "imputers",
    "TableGame": "game",
    "TextGame": "text",
    "TextIntegratedGradients": "text_gradients",
    "TextModel": "text",
    "sentence_owen": "text_owen",
    "accumulated_local_effects": "importance",
    "as_shapiq": "adapters",
    "banzhaf": "semivalues",
    "beta_shapley": "semivalues",
    "bounded_order_interactions": "bounded",
    "bounded_order_shapley": "bounded",
    "compress": "compression",
    "exact_shapley": "exact",
    "from_callable": "foreign_models",
    "from_shap": "adapters",
    "from_shapiq": "adapters",
    "kernel_shap": "regression",
    "leverage_shap": "regression",
    "lime": "surrogates",
    "merge": "merging",
    "mmd": "compression",
    "msr_shapley": "reuse",
    "occlusion": "surrogates",
    "odd_gp": "gp",
    "ofa_shapley": "reuse",
    "orthogonal_shapley": "sampling",
    "owen": "grouped",
    "partial_dependence": "importance",
    "patches": "imagery",
    "permutation_shapley": "sampling",
    "regression_adjusted": "adjusted",
    "sage": "importance",
    "sample_until": "stopping",
    "semivalue": "semivalues",
    "shapley": "choose",
    "shapley_interactions": "pairwise",
    "superpixels": "imagery",
    "svarm": "reuse",
    "unbiased_kernel_shap": "regression",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type is the public object's own
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no public name {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
