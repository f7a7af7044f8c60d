import numpy as np

def compress_kt(
    X: np.ndarray,
    kernel_type: bytes,
    k_params: np.ndarray = ...,
    g: int = 0,
    num_bins: int = 1,
    delta: float = 0.5,
    skip_swap: bool = False,
    seed: int | None = None,
) -> np.ndarray: ...
