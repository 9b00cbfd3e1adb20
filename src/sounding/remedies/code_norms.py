"""Remedies for normalisations as code to paste."""

from __future__ import annotations

from collections import defaultdict

from sounding.capture.operations import SEQUENCES
from sounding.measure.readings import Call, Readings
from sounding.remedies.code_architecture import putting
from sounding.remedies.code_weights import Given
from sounding.remedies.norms import FEWEST, groups
from sounding.remedies.selection import foldable, layers, unnormalised

BATCH_NORM = "nn.modules.batchnorm._BatchNorm"
FEATURES = {"layer_norm": "normalized_shape[-1]", "rms_norm": "normalized_shape[-1]"}
OPERATIONS = ("batch_norm", "instance_norm", "group_norm", *FEATURES)
NORMALISED = """\
class Normalised(nn.Module):
    def __init__(self, layer, norm):
        super().__init__()
        self.layer, self.norm = layer, norm

    def forward(self, *args):
        output, state = self.layer(*args)
        return self.norm(output), state

"""


def insert_norm(given: Given, readings: Readings | None) -> str:
    """Each bare layer in a sequence with a normalisation, or parametrised."""
    kind = given["kind"]
    bare = _bare_layers(readings, kind)
    if kind == "weight":
        names = f"[{', '.join(repr(call.module) for call in bare) or '...'}]"
        parametrised = "nn.utils.parametrizations.weight_norm(model.get_submodule(name))"
        return f"for name in {names}:\n    {parametrised}"
    by_norm: dict[str, list[str]] = defaultdict(list)
    for call in bare:
        by_norm[_wrapped(kind, call)].append(call.module)
    if not by_norm:
        by_norm["nn.Sequential(layer, nn.BatchNorm1d(layer.out_features))"] = []
    text = "\n".join(putting(names, wrapped) for wrapped, names in by_norm.items())
    return (NORMALISED if "Normalised" in text else "") + text


def exchange_norm(given: Given, readings: Readings | None) -> str:
    """New modules with the old ones' scales and shifts."""
    by_norm: dict[str, list[str]] = defaultdict(list)
    for at, call in enumerate(readings.calls if readings is not None else ()):
        if call.operation in OPERATIONS and call.module and "#" not in call.name:
            assert readings is not None
            if expression := _instead(given["to"], readings, at):
                by_norm[expression].append(call.module)
    if not by_norm:
        return f"# every normalisation becomes a {given['to']} norm of the same number of features"
    return "\n".join(_exchanging(new, names) for new, names in by_norm.items())


def recalibrate_statistics(given: Given, readings: Readings | None) -> str:
    """Torch has a function for it."""
    return (
        "# some batches of training inputs\n"
        "torch.optim.swa_utils.update_bn(training_batches, model)"
    )


def freeze_norm(given: Given, readings: Readings | None) -> str:
    """A hook that is not undone by `model.train()`."""
    return f"""\
def still(norm, _):
    norm.eval()  # whatever model.train() says

for norm in model.modules():
    if isinstance(norm, {BATCH_NORM}):
        norm.register_forward_pre_hook(still)"""


def fold_batch_norm(given: Given, readings: Readings | None) -> str:
    """Torch's own fusion, pair by pair."""
    calls = readings.calls if readings is not None else ()
    pairs = {calls[at].module: calls[norm].module for at, norm in foldable(calls).items()}
    listed = ", ".join(f"{layer!r}: {norm!r}" for layer, norm in pairs.items())
    return f"""\
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

model.eval()
for name, after in {{{listed or "...: ..."}}}.items():
    layer, norm = model.get_submodule(name), model.get_submodule(after)
    if isinstance(layer, nn.Linear):
        folded = fuse_linear_bn_eval(layer, norm)
    else:
        folded = fuse_conv_bn_eval(layer, norm, "Transpose" in type(layer).__name__)
    for place, new in ((name, folded), (after, nn.Identity())):
        parent, _, child = place.rpartition('.')
        setattr(model.get_submodule(parent), child, new)"""


def _wrapped(kind: str, call: Call) -> str:
    if call.operation in SEQUENCES:
        name = {"rms": "RMSNorm"}.get(kind, "LayerNorm")
        return f"Normalised(layer, nn.{name}({call.units}))"
    return f"nn.Sequential(layer, {_norm(kind, call)})"


def _norm(kind: str, call: Call) -> str:
    if call.operation == "linear":
        names = {"batch": "BatchNorm1d", "layer": "LayerNorm", "rms": "RMSNorm"}
        return f"nn.{names.get(kind, 'LayerNorm')}(layer.out_features)"
    dimension = call.operation.removeprefix("conv")
    return {
        "batch": f"nn.BatchNorm{dimension}(layer.out_channels)",
        "instance": f"nn.InstanceNorm{dimension}(layer.out_channels, affine=True)",
        "group": f"nn.GroupNorm({groups(call.units)}, layer.out_channels)",
    }.get(kind, "nn.GroupNorm(1, layer.out_channels)")


def _bare_layers(readings: Readings | None, kind: str) -> list[Call]:
    """One call of each layer that an activation follows without a normalisation between."""
    if readings is None:
        return []
    calls = readings.calls
    bare = [calls[i] for i in layers(calls) if unnormalised(calls, i)]
    own = [c for c in bare if c.module and "#" not in c.name and "transpose" not in c.operation]
    if kind in ("layer", "rms"):
        own += [c for c in calls if c.operation in SEQUENCES and c.module and "#" not in c.name]
    return list({call.module: call for call in own}.values())


def _exchanging(new: str, names: list[str]) -> str:
    return f"""\
for name in {names!r}:
    norm = model.get_submodule(name)
    new = {new}
    for key in ('weight', 'bias'):
        if getattr(norm, key, None) is not None and getattr(new, key, None) is not None:
            setattr(new, key, getattr(norm, key))
    parent, _, child = name.rpartition('.')
    setattr(model.get_submodule(parent), child, new)"""


def _instead(to: str, readings: Readings, at: int) -> str:
    """An expression for the new norm; '' where the calls do not tell the shape."""
    call = readings.calls[at]
    features = FEATURES.get(call.operation)
    if features:
        names = {"layer": "LayerNorm", "rms": "RMSNorm"}
        same = call.operation == f"{to}_norm"
        return "" if same or to not in names else f"nn.{names[to]}(norm.{features})"
    features = "num_channels" if call.operation == "group_norm" else "num_features"
    made = readings.calls[call.main].operation if call.main >= 0 else ""
    dimension, units = made[-2:] if made.startswith("conv") else "", readings.calls[call.main].units
    if call.operation == f"{to}_norm" or not (dimension or made == "linear"):
        return ""
    count = groups(units, 1 if dimension else FEWEST)
    flat = {"layer": f"nn.LayerNorm(norm.{features})", "rms": f"nn.RMSNorm(norm.{features})"}
    maps = {
        "layer": f"nn.GroupNorm(1, norm.{features})",
        "instance": f"nn.InstanceNorm{dimension}(norm.{features}, affine=True)",
    }
    both = {
        "group": f"nn.GroupNorm({count}, norm.{features})",
        "batch": f"nn.BatchNorm{dimension or '1d'}(norm.{features})",
    }
    return (both | (maps if dimension else flat)).get(to, "")
