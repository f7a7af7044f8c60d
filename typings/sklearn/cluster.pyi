# What is used of sklearn.cluster; scikit-learn declares no types.

from typing import Self

import numpy as np

class KMeans:
    cluster_centers_: np.ndarray
    labels_: np.ndarray
    def __init__(self, n_clusters: int = 8, *, random_state: int | None = None) -> None: ...
    def fit(self, X: np.ndarray) -> Self: ...
