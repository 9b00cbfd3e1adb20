"""Closed forms and quadratures about random nets; numpy in, numpy out, no net in sight."""

from sounding.theory.activations import ACTIVATIONS, Activation, activation, saturated
from sounding.theory.criticality import critical_variance
from sounding.theory.dying_relu import born_dead
from sounding.theory.gaussian import (
    backward_gain,
    cross_moment,
    expectation,
    forward_gain,
    maxout_moments,
    mean,
    pair_spread,
    second_moment,
    slope_cross_moment,
    slope_moment,
)
from sounding.theory.initialisation import (
    SCHEMES,
    Fans,
    bias_variance,
    closest_scheme,
    fans,
    required_gain,
    weight_variance,
)
from sounding.theory.jacobian import (
    isometry_defect,
    largest_squared_singular_value,
    log_gain_per_layer,
)
from sounding.theory.mean_field import (
    DepthScales,
    Prediction,
    chi,
    correlation_fixed_point,
    correlation_map,
    depth_scales,
    fixed_point,
    length_map,
    length_map_slope,
    predict,
)
from sounding.theory.parametrisation import Scaling, maximal_update

__all__ = [
    "ACTIVATIONS",
    "SCHEMES",
    "Activation",
    "DepthScales",
    "Fans",
    "Prediction",
    "Scaling",
    "activation",
    "backward_gain",
    "bias_variance",
    "born_dead",
    "chi",
    "closest_scheme",
    "correlation_fixed_point",
    "correlation_map",
    "critical_variance",
    "cross_moment",
    "depth_scales",
    "expectation",
    "fans",
    "fixed_point",
    "forward_gain",
    "isometry_defect",
    "largest_squared_singular_value",
    "length_map",
    "length_map_slope",
    "log_gain_per_layer",
    "maximal_update",
    "maxout_moments",
    "mean",
    "pair_spread",
    "predict",
    "required_gain",
    "saturated",
    "second_moment",
    "slope_cross_moment",
    "slope_moment",
    "weight_variance",
]
