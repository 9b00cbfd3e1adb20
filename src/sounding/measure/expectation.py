"""What mean-field theory predicts for this net, from the measured weight variances alone."""

from __future__ import annotations

import numpy as np

from sounding.measure.readings import Call, Expectation, Gradients, Signal
from sounding.theory.activations import activation
from sounding.theory.mean_field import predict

SOURCE = "mean field: Poole et al. 2016, Schoenholz et al. 2017"


def expectation(
    calls: tuple[Call, ...],
    path: list[int],
    signal: Signal,
    gradients: Gradients,
) -> Expectation | None:
    """Rms, spread and gradient for random weights of the measured second moments.

    Starts from the measured rms and spread of the input, ends at the measured gradient of the
    last layer. ``None`` where the theory of plain chains does not hold: with skips,
    normalisation, attention or pooling between the layers, or an embedding at the bottom.
    """
    layers = [i for i in path if calls[i].role == "weight"]
    start = path.index(layers[0]) if layers else 0
    between = [calls[i].role for i in path[start:] if calls[i].role not in ("weight", "loss")]
    if len(layers) < 2 or any(role != "activation" for role in between):
        return None
    below = calls[layers[0]].main
    if below < 0 or not signal.rms[below] > 0 or not calls[layers[0]].fan_in > 1:
        return None
    relative = signal.spread[below] / signal.rms[below]
    prediction = predict(
        [_layer(calls[i]) for i in layers],
        q0=float(signal.rms[below] ** 2),
        c0=1 - float(relative**2) if np.isfinite(relative) else 0.0,
        widths=[calls[i].size for i in layers],
    )
    return Expectation(
        rms=np.sqrt(prediction.second_moment),
        spread=np.sqrt(prediction.spread),
        gradient=np.sqrt(prediction.gradient) * gradients.rms[layers[-1]],
        chi=prediction.chi,
        source=SOURCE,
    )


def _layer(call: Call):
    phi = activation(call.activation, **call.activation_arguments) if call.activation else None
    return call.fan_in * call.weight_second_moment, call.bias_second_moment, phi
