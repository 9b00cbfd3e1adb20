"""Remedies for the recipe as code to paste: each says where in the training loop it goes."""

from __future__ import annotations

from sounding.measure.readings import Readings
from sounding.remedies.code_weights import Given
from sounding.remedies.gradients import SMALLEST
from sounding.remedies.selection import last_weight
from sounding.remedies.stages import stage_names
from sounding.train.recipe import OPTIMISERS

MADE = "# right after the optimiser is made, before any scheduler"
READY = "# right before optimizer.step()"


def scale_lr(given: Given, readings: Readings | None) -> str:
    """Once, before schedulers."""
    factor = given["factor"]
    return f"{MADE}\nfor group in optimizer.param_groups:\n    group['lr'] *= {factor!r}"


def warm_up(given: Given, readings: Readings | None) -> str:
    """A scheduler of torch's."""
    factor = f"lambda step: min(1.0, (step + 1) / {given['steps']!r})"
    return (
        f"{MADE}; call warming.step() after every optimizer.step()\n"
        f"warming = torch.optim.lr_scheduler.LambdaLR(optimizer, {factor})"
    )


def hold_lr(given: Given, readings: Readings | None) -> str:
    """Something to be taken out."""
    return "# take scheduler.step() out of the loop over the batches: once an epoch is enough"


def set_momentum(given: Given, readings: Readings | None) -> str:
    """In the groups."""
    value = given["value"]
    return f"""\
{MADE}
for group in optimizer.param_groups:
    if "betas" in group:
        group["betas"] = ({value!r}, *group["betas"][1:])
    else:
        group["momentum"] = {value!r}"""


def set_weight_decay(given: Given, readings: Readings | None) -> str:
    """In the groups that have some."""
    return f"""\
{MADE}
decayed = [group for group in optimizer.param_groups if group["weight_decay"]]
for group in decayed or optimizer.param_groups:
    group["weight_decay"] = {given["value"]!r}"""


def set_epsilon(given: Given, readings: Readings | None) -> str:
    """In the groups."""
    value = given["value"]
    return f"{MADE}\nfor group in optimizer.param_groups:\n    group['eps'] = {value!r}"


def decouple_decay(given: Given, readings: Readings | None) -> str:
    """AdamW on the same groups."""
    return """\
# AdamW instead of Adam, with the same settings
kept = ("params", "lr", "betas", "eps", "weight_decay")
optimizer = torch.optim.AdamW(
    [{key: group[key] for key in kept} for group in optimizer.param_groups]
)"""


def change_optimiser(given: Given, readings: Readings | None) -> str:
    """Another constructor."""
    name = getattr(OPTIMISERS[given["to"]], "__name__", given["to"])
    groups = readings.loop.groups if readings is not None and readings.loop is not None else ()
    decay = groups[0].settings.get("weight_decay", 0.0) if groups else 0.0
    return (
        "# instead of the line that makes the optimiser\n"
        f"optimizer = torch.optim.{name}("
        f"model.parameters(), lr={given['lr']!r}, weight_decay={decay!r})"
    )


def no_decay_on(given: Given, readings: Readings | None) -> str:
    """Every group in two."""
    chosen = [kind.strip() for kind in str(given["kinds"]).split(",")]
    tests = {
        "embeddings": "id(p) in tables",
        "biases": "id(p) not in tables and 'bias' in name.rpartition('.')[2]",
        "norms": "id(p) not in tables and p.dim() < 2 and 'bias' not in name.rpartition('.')[2]",
    }
    wanted = "\n    or ".join(tests[kind] for kind in chosen)
    return f"""\
{MADE}
tables = [m for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
tables = {{id(p) for m in tables for p in m.parameters()}}
spared = {{
    id(p) for name, p in model.named_parameters()
    if {wanted}
}}
for group in list(optimizer.param_groups):
    apart = [p for p in group["params"] if id(p) in spared]
    if apart and group["weight_decay"]:
        group["params"] = [p for p in group["params"] if id(p) not in spared]
        optimizer.add_param_group({{**group, "params": apart, "weight_decay": 0.0}})"""


def clip_norm(given: Given, readings: Readings | None) -> str:
    """Torch's own."""
    return f"{READY}\nnn.utils.clip_grad_norm_(model.parameters(), {given['bound']!r})"


def clip_value(given: Given, readings: Readings | None) -> str:
    """Torch's own."""
    return f"{READY}\nnn.utils.clip_grad_value_(model.parameters(), {given['bound']!r})"


def clip_units(given: Given, readings: Readings | None) -> str:
    """Unit by unit, but not in the last layer."""
    at = -1 if readings is None else last_weight(readings.calls)
    last = "..." if readings is None or at < 0 else readings.calls[at].module
    return f"""\
{READY}
for name, p in model.named_parameters():
    if p.grad is not None and not name.startswith({f"{last}."!r}):
        dims = tuple(range(1, p.dim())) or None  # a unit is a row, or a whole vector
        bound = {given["factor"]!r} * p.detach().norm(dim=dims, keepdim=True).clamp_min({SMALLEST})
        size = p.grad.norm(dim=dims, keepdim=True).clamp_min(1e-12)
        p.grad *= (bound / size).clamp_max(1.0)"""


def divide_gradients(given: Given, readings: Readings | None) -> str:
    """Of the loss."""
    return f"# right before every loss.backward()\nloss = loss / {given['by']!r}"


def zero_gradients(given: Given, readings: Readings | None) -> str:
    """The missing line."""
    return "# right after every optimizer.step()\noptimizer.zero_grad()"


def escape(given: Given, readings: Readings | None) -> str:
    """Noise after a step whose gradient was small."""
    return f"""\
# once, before the loop
steps, perturbed_at = 0, {-given["interval"]!r}

# right after every optimizer.step(), before any zero_grad()
steps += 1
moving = [p for p in model.parameters() if p.grad is not None]
size = torch.stack([p.grad.norm() for p in moving]).norm()
if steps - perturbed_at >= {given["interval"]!r} and size <= {given["gradient_threshold"]!r}:
    perturbed_at = steps
    noise = [torch.randn_like(p) for p in moving]  # a point of the ball of this radius
    share = torch.rand(()) ** (1 / sum(p.numel() for p in moving))
    length = {given["radius"]!r} * share / torch.stack([n.norm() for n in noise]).norm()
    with torch.no_grad():
        for p, n in zip(moving, noise):
            p += length.to(p.device) * n"""


# -- fine-tuning -----------------------------------------------------------------------------------


def freeze(given: Given, readings: Readings | None) -> str:
    """By the names of the parameters, or by layer groups."""
    count, head = _groups(readings)
    if given["upto"]:
        frozen = f"name.startswith({_before(readings, str(given['upto']))!r})"
        head = ""
    else:
        share = float(given["share"])
        first = min(-int(-share * count // 1), count - 1) if share else count - 1
        frozen = f"depth(name) < {first}"
    batch_norms = """
# and after every model.train(): frozen batch norms keep their statistics
for module in model.modules():
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad:
        module.eval()"""
    calls = () if readings is None else readings.calls
    rest = batch_norms if any(call.operation == "batch_norm" for call in calls) else ""
    return f"""\
{head}for name, p in model.named_parameters():
    if {frozen}:
        p.requires_grad_(False){rest}"""


def linear_probe_then_finetune(given: Given, readings: Readings | None) -> str:
    """At the beginning of every step."""
    count, head = _groups(readings)
    return f"""\
{head}# at the beginning of every step
for name, p in model.named_parameters():
    p.requires_grad_(step >= {given["steps"]!r} or depth(name) == {count - 1})"""


def gradual_unfreezing(given: Given, readings: Readings | None) -> str:
    """At the beginning of every step."""
    count, head = _groups(readings)
    return f"""\
{head}# at the beginning of every step
for name, p in model.named_parameters():
    p.requires_grad_(step >= {given["steps"]!r} * ({count - 1} - depth(name)))"""


def discriminative_lr(given: Given, readings: Readings | None) -> str:
    """Every group in as many as there are layer groups."""
    count, head = _groups(readings)
    return f"""\
{head}{MADE}
at = {{id(p): depth(name) for name, p in model.named_parameters()}}
for group in list(optimizer.param_groups):
    parameters, lr = group["params"], group["lr"]
    optimizer.param_groups.remove(group)
    for number in range({count}):
        own = [p for p in parameters if at[id(p)] == number]
        if own:
            slower = lr / {given["factor"]!r} ** ({count - 1} - number)
            optimizer.add_param_group({{**group, "params": own, "lr": slower}})"""


def _groups(readings: Readings | None) -> tuple[int, str]:
    """How many layer groups there are, and the lines that tell a parameter's."""
    names = {} if readings is None else stage_names(readings.calls)
    return (
        len(set(names.values())),
        f"""\
layers = {names!r}  # layer groups, from the input to the output

def depth(name):
    return max((at for layer, at in layers.items() if name.startswith(f"{{layer}}.")), default=0)

""",
    )


def _before(readings: Readings | None, upto: str) -> tuple[str, ...]:
    """What the names of the parameters begin with that are used up to the end of a module."""
    calls = () if readings is None else readings.calls
    inside = [at for at, call in enumerate(calls) if f"{call.module}.".startswith(f"{upto}.")]
    used = calls[: max(inside, default=-1) + 1]
    return tuple(dict.fromkeys(f"{c.module}." for c in used if c.module)) or (f"{upto}.",)
