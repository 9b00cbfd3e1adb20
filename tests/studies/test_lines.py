"""Lines of a chart: means, standard errors, theory."""

import numpy as np

from sounding.studies.lines import measured, predicted


def test_a_measured_line_has_the_standard_error_of_the_mean():
    line = measured("runs", [1, 2], [[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(line.y, [2.0, 5.0])
    np.testing.assert_allclose(line.error, [1.0, 0.0])  # sd sqrt(2) over sqrt(2)
    assert not line.theory
    assert measured("one run", [1, 2], [[1.0, 5.0]]).error is None


def test_a_line_of_theory_says_so():
    line = predicted("law", [1, 2], [3, 4])
    assert (line.theory, line.error) == (True, None)
