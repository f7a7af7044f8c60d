# What is used of sklearn.mixture; scikit-learn declares no types.

from typing import Literal, Self

import numpy as np

class GaussianMixture:
    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: Literal["full", "tied", "diag", "spherical"] = "full",
        reg_covar: float = 1e-6,
        random_state: int | None = None,
    ) -> None: ...
    def fit(self, X: np.ndarray) -> Self: ...
