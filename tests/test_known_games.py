"""The known games agree with enumeration, so that later laws can lean on either."""

import pytest
import torch

from baselines import exact_shapley
from tests.known_games import Known, small_games


@pytest.mark.parametrize("known", small_games(), ids=lambda known: known.name)
def test_closed_forms_equal_enumeration(known: Known):
    exact = exact_shapley(known.make())
    torch.testing.assert_close(exact.values, known.truth, rtol=0, atol=1e-12)
