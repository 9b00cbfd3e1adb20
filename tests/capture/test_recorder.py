"""What modules hide is seen: every operation, what it is made of, the activation behind a layer.

The expected calls are written down by hand from each `forward`. No other test would notice a call
that is named after the wrong module, linked to the wrong input, or missing in the middle of a net.
"""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sounding.capture.recorder import Recorder

LOSS = "cross_entropy cross_entropy loss <-"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def x():
    return torch.randn(8, 16)


@pytest.fixture
def y():
    return torch.randint(0, 4, (8,))


class Hidden(nn.Module):
    """Functional activations, one of them in place, and a residual branch."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        h = h + torch.relu_(self.b(h))
        return self.c(F.gelu(h))


def test_functional_activations_and_a_residual_branch(see, x, y):
    net = Hidden()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls() == [
        "a linear weight <- input",
        "#tanh tanh activation <- a",
        "b linear weight <- #tanh",
        "#relu relu activation <- b",
        "#add add skip <- #tanh, #relu",
        "#gelu gelu activation <- #add",
        "c linear weight <- #gelu",
        f"{LOSS} c",
    ]
    assert seen.followers() == {"a": "tanh", "b": "relu", "c": ""}
    assert seen.path() == [
        "input",
        "a",
        "#tanh",
        "b",
        "#relu",
        "#add",
        "#gelu",
        "c",
        "cross_entropy",
    ]
    assert seen.node("#add").main == seen.node("#relu").index


ACTIVATIONS = {
    "relu": torch.relu,
    "relu by a method": lambda z: z.relu(),
    "relu by clamp": lambda z: z.clamp(min=0),
    "relu by threshold": lambda z: F.threshold(z, 0.0, 0.0),
    "relu in place": lambda z: F.relu(z, inplace=True),
    "relu6": F.relu6,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.3),
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "silu by hand": lambda z: z * torch.sigmoid(z),
    "silu by hand, the other way": lambda z: torch.sigmoid(z) * z,
    "elu": lambda z: F.elu(z, 0.5),
    "sigmoid": lambda z: z.sigmoid(),
    "hardtanh": lambda z: F.hardtanh(z, -2.0, 2.0),
    "softplus": F.softplus,
}
ARGUMENTS = {
    "leaky_relu": {"slope": 0.3},
    "elu": {"alpha": 0.5},
    "hardtanh": {"low": -2.0, "high": 2.0},
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_every_spelling_of_an_activation(see, x, y, kind):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x):
            return self.c(ACTIVATIONS[kind](self.a(x)))

    net = Net()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    name = kind.split()[0]
    assert seen.followers() == {"a": name, "c": ""}
    found = next(n for n in seen.nodes if n.role == "activation")
    assert found.arguments == ARGUMENTS.get(name, {})
    assert [n.role for n in seen.nodes].count("activation") == 1
    # What went into it, before an in-place call destroyed it.
    assert torch.equal(found.preactivation, net.a(x).detach())


def test_tied_and_repeated_layers_are_told_apart_by_call(see):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(20, 16)
            self.head = nn.Linear(16, 20, bias=False)
            self.head.weight = self.table.weight
            self.step = nn.Linear(16, 16)

        def forward(self, tokens):
            h = self.table(tokens)
            for _ in range(3):
                h = F.relu(self.step(h))
            return self.head(h).transpose(1, 2)

    net, tokens = Tied(), torch.randint(0, 20, (8, 5))
    seen = see(net, lambda: F.cross_entropy(net(tokens), tokens), tokens)
    assert seen.calls()[:-1] == [
        "table embedding weight <- input",
        "step linear weight <- table",
        "#relu relu activation <- step",
        "step@2 linear weight <- #relu",
        "#relu.2 relu activation <- step@2",
        "step@3 linear weight <- #relu.2",
        "#relu.3 relu activation <- step@3",
        "head linear weight <- #relu.3",
    ]
    assert seen.weights() == {  # a shared weight goes by the name that named_parameters gives it
        "table": ("table.weight", 1, 16, 16),
        "step": ("step.weight", 16, 16, 16),
        "step@2": ("step.weight", 16, 16, 16),
        "step@3": ("step.weight", 16, 16, 16),
        "head": ("table.weight", 16, 20, 20),
    }


# -- attention --------------------------------------------------------------------------------


def test_multihead_attention_shows_its_projections(see, y):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(16)
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            z = self.norm(x)
            return self.head((x + self.attention(z, z, z, need_weights=False)[0]).mean(1))

    net, x = Block(), torch.randn(8, 5, 16)
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    sdpa = "scaled_dot_product_attention"
    assert seen.calls() == [
        "norm layer_norm normalisation <- input",
        "attention#linear linear weight <- norm",
        "attention#getitem getitem other <- attention#linear",
        "attention#getitem.2 getitem other <- attention#linear",
        "attention#getitem.3 getitem other <- attention#linear",
        f"attention#{sdpa} {sdpa} attention <- attention#getitem, attention#getitem.2, "
        "attention#getitem.3",
        f"attention#linear.2 linear weight <- attention#{sdpa}",
        "#add add skip <- input, attention#linear.2",
        "#mean mean other <- #add",
        "head linear weight <- #mean",
        f"{LOSS} head",
    ]
    assert seen.weights() == {
        "attention#linear": ("attention.in_proj_weight", 16, 48, 48),
        "attention#linear.2": ("attention.out_proj.weight", 16, 16, 16),
        "head": ("head.weight", 16, 4, 4),
    }
    assert set(seen.followers().values()) == {""}
    assert "attention#getitem.3" in seen.path()  # the values carry the signal


@pytest.mark.parametrize("training", [True, False])
def test_encoder_layer_of_torch_in_both_modes(see, training):
    net = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True, dropout=0.1)
    net.train(training)
    x = torch.randn(8, 5, 16)
    seen = see(net, lambda: net(x).square().mean())
    layers = ["self_attn#linear", "self_attn#linear.2", "linear1", "linear2"]
    assert list(seen.weights()) == layers
    assert seen.followers() == dict.fromkeys(layers, "") | {"linear1": "gelu"}
    roles = [n.role for n in seen.nodes]
    assert [roles.count(r) for r in ("attention", "skip", "normalisation")] == [1, 2, 2]
    dropped = [n.name for n in seen.nodes if n.operation == "dropout"]
    assert dropped == (["dropout1", "dropout", "dropout2"] if training else [])
    assert [n.name for n in seen.nodes if n.role == "loss"] == ["square", "mean"]


def test_attention_by_hand_with_a_mask(see):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

        def forward(self, x):
            q, k, v = (t.view(8, 5, 2, 8).transpose(1, 2) for t in self.qkv(x).split(16, -1))
            scores = q @ k.transpose(-2, -1) / 8**0.5
            seen = torch.tril(torch.ones(5, 5)) == 0
            weights = scores.masked_fill(seen, float("-inf")).softmax(-1)
            return self.out((weights @ v).transpose(1, 2).reshape(8, 5, 16))

    net, x = Attention(), torch.randn(8, 5, 16)
    seen = see(net, lambda: net(x).square().mean())
    assert seen.calls()[1:] == [
        "#split split other <- qkv",
        "#split.2 split other <- qkv",
        "#split.3 split other <- qkv",
        "#matmul matmul other <- #split, #split.2",
        "#div div other <- #matmul",
        "#masked_fill masked_fill other <- #div",
        "#softmax softmax other <- #masked_fill",
        "#matmul.2 matmul other <- #softmax, #split.3",
        "out linear weight <- #matmul.2",
        "square square loss <- out",
        "mean mean loss <- square",
    ]
    assert seen.path() == ["input", "qkv", "#split.3", "#matmul.2", "out", "square", "mean"]
    assert seen.followers() == {"qkv": "", "out": ""}


# -- recurrent, parametrised, opaque ----------------------------------------------------------


def test_recurrent_layers_and_cells(see, y):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(16, 12, batch_first=True)
            self.gru = nn.GRUCell(12, 8)
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            h, state = self.lstm(x)[0], None
            for t in range(2):
                state = self.gru(h[:, t], state)
            return self.head(state)

    net, x = Recurrent(), torch.randn(8, 2, 16)
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls() == [
        "lstm lstm weight <- input",  # outputs, last hidden state, last cell state
        "lstm.2 lstm weight <- input",
        "lstm.3 lstm weight <- input",
        "#getitem getitem other <- lstm",
        "gru gru_cell weight <- #getitem",
        "#getitem.2 getitem other <- lstm",
        "gru@2 gru_cell weight <- #getitem.2, gru",
        "head linear weight <- gru@2",
        f"{LOSS} head",
    ]
    assert seen.weights()["lstm"] == ("lstm.weight_ih_l0", 16, 48, 12)
    assert seen.node("lstm").others == ("lstm.weight_hh_l0",)
    assert seen.weights()["gru"] == ("gru.weight_ih", 12, 24, 8)
    assert seen.recording.notes == ()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
)
def test_parametrised_weights_are_one_call_of_their_layer(see, x, y, wrap):
    net = nn.Sequential(wrap(nn.Linear(16, 16)), nn.ReLU(), wrap(nn.Linear(16, 4)))
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls() == [
        "0 linear weight <- input",
        "1 relu activation <- 0",
        "2 linear weight <- 1",
        f"{LOSS} 2",
    ]
    assert seen.weights() == {"0": ("", 16, 16, 16), "2": ("", 16, 4, 4)}
    assert seen.node("0").bias == "0.bias"


def test_the_size_of_a_parametrised_weight_is_that_of_the_weight_in_use(see, x):
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(16, 16))
    with torch.no_grad():
        layer.parametrizations.weight.original0 *= 3
    seen = see(layer, lambda: layer(x).square().mean())
    expected = float(layer.weight.detach().square().mean())
    assert seen.nodes[1].weight_second_moment == pytest.approx(expected, rel=1e-5)


class Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0] > 0)


class Foreign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.detach().numpy() * 2)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class Functions(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.c(Foreign.apply(self.b(Rectify.apply(self.a(x)))))


def test_custom_functions(see, x, y):
    net = Functions()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls() == [
        "a linear weight <- input",
        "#clamp relu activation <- a",  # written with torch inside
        "b linear weight <- #clamp",
        "#Foreign Foreign other <- b",  # written with something else: found behind its output
        "c linear weight <- #Foreign",
        f"{LOSS} c",
    ]
    assert seen.followers() == {"a": "relu", "b": "", "c": ""}
    assert all(n.gradient is not None for n in seen.nodes[1:])
    assert [n for n in seen.recording.notes if "from outside only" in n and "#Foreign" in n]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_scripts_are_one_call_each(see, x, y):
    @torch.jit.script
    def swish(z):
        return z * torch.sigmoid(z)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            inside = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
            self.a, self.b = nn.Linear(16, 16), torch.jit.script(inside)
            self.c = nn.Linear(16, 4)

        def forward(self, x):
            return self.c(self.b(swish(self.a(x))))

    net = Net()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls() == [
        "a linear weight <- input",
        "#Mul Mul other <- a",
        "b Sequential other <- #Mul",
        "c linear weight <- b",
        f"{LOSS} c",
    ]
    assert seen.recording.notes == (
        "2 calls seen from outside only (a script, a custom function or kernel): #Mul, b",
    )
    scripted = torch.jit.script(nn.Sequential(nn.Linear(16, 4)))
    seen = see(scripted, lambda: F.cross_entropy(scripted(x), y))
    assert seen.calls() == ["#Sequential Sequential other <- input", f"{LOSS} #Sequential"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(see, x, y, reentrant):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(16, 16), nn.Linear(16, 4)
            self.b = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))

        def forward(self, x):
            return self.c(checkpoint(self.b, F.relu(self.a(x)), use_reentrant=reentrant))

    net = Net()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls() == [
        "a linear weight <- input",
        "#relu relu activation <- a",
        "b.0 linear weight <- #relu",
        "b.1 relu activation <- b.0",
        "b.2 linear weight <- b.1",
        "c linear weight <- b.2",
        f"{LOSS} c",
    ]
    without = [n.name for n in seen.nodes[1:] if n.gradient is None]
    assert without == (["b.0", "b.1"] if reentrant else [])
    assert bool(seen.recording.notes) == reentrant


def test_a_compiled_model_runs_uncompiled(see, x, y):
    plain = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    compiled = torch.compile(plain, backend="eager")
    compiled(x)  # so that there is compiled code to be left alone
    seen = see(compiled, lambda: F.cross_entropy(compiled(x), y))
    assert seen.calls() == [
        "_orig_mod.0 linear weight <- input",
        "_orig_mod.1 relu activation <- _orig_mod.0",
        "_orig_mod.2 linear weight <- _orig_mod.1",
        f"{LOSS} _orig_mod.2",
    ]
    assert seen.weights()["_orig_mod.0"] == ("_orig_mod.0.weight", 16, 16, 16)
    assert seen.recording.notes == ("the model is compiled; it ran uncompiled for this pass",)
    inside = nn.Sequential(nn.Linear(16, 4))
    inside.compile(backend="eager")
    assert (
        see(inside, lambda: F.cross_entropy(inside(x), y)).recording.notes == seen.recording.notes
    )


def test_data_parallel_on_the_cpu(see, x, y):
    net = nn.DataParallel(nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)))
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls()[:3] == [
        "module.0 linear weight <- input",
        "module.1 tanh activation <- module.0",
        "module.2 linear weight <- module.1",
    ]


# -- what goes in and comes out ---------------------------------------------------------------


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor


@dataclasses.dataclass
class Pair:
    x: torch.Tensor
    y: torch.Tensor


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(16, 16)
        self.layers = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 4)])

    def forward(self, *, x, mask):
        h = F.relu(self.a(x)) * mask
        return Output(self.layers[1](torch.tanh(self.layers[0](h))), h)


def test_keyword_inputs_dataclass_outputs_and_module_lists(see, x, y):
    net, batch = Keywords(), {"x": x, "mask": torch.ones(8, 16)}
    seen = see(net, lambda: F.cross_entropy(net(**batch).logits, y), batch)
    assert seen.calls() == [
        "a linear weight <- input",
        "#relu relu activation <- a",
        "#mul mul other <- #relu, input.2",
        "layers.0 linear weight <- #mul",
        "#tanh tanh activation <- layers.0",
        "layers.1 linear weight <- #tanh",
        f"{LOSS} layers.1",
    ]
    assert seen.followers() == {"a": "relu", "layers.0": "tanh", "layers.1": ""}
    assert "#relu" in seen.path()
    assert seen.nodes[0].rows == 8


class OwnLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, batch):
        logits = self.c(torch.relu(self.a(batch.x / 2)))
        return {
            "loss": F.cross_entropy(logits, batch.y) + 1e-3 * logits.square().mean(),
            "logits": logits,
        }


class Opaque:
    def __init__(self, x, y):
        self.x, self.y = x, y


@pytest.mark.parametrize("kind", [Pair, Opaque])
def test_a_model_that_returns_its_loss(see, x, y, kind):
    net, batch = OwnLoss(), kind(x, y)
    seen = see(net, lambda: net(batch)["loss"], batch)
    made = ["#div div other <- input", "a linear weight <- #div"]
    target = ", input.2"
    if kind is Opaque:  # nobody can look into it: what enters the first layer is the input
        made, target = ["a linear weight <- input"], ""
    assert seen.calls() == [
        *made,
        "#relu relu activation <- a",
        "c linear weight <- #relu",
        f"#cross_entropy cross_entropy loss <- c{target}",
        "#square square other <- c",
        "#mean mean other <- #square",
        "#mul mul other <- #mean",
        "#add add loss <- #cross_entropy, #mul",
    ]
    assert seen.path()[-3:] == ["c", "#cross_entropy", "#add"]


def test_in_place_operations(see, y):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
            self.rectify, self.head = nn.ReLU(inplace=True), nn.Linear(8, 4)

        def forward(self, x):
            z = self.rectify(self.norm(self.first(x)))
            w = self.second(z)
            w += z
            w = self.rectify(w).clone()
            w[:, 0] = 0
            return self.head(w.mean((2, 3)).mul_(2))

    net, x = Net(), torch.randn(8, 3, 6, 6)
    for layout in (torch.contiguous_format, torch.channels_last):
        net, x = net.to(memory_format=layout), x.contiguous(memory_format=layout)
        seen = see(net, lambda: F.cross_entropy(net(x), y))  # noqa: B023 - it is called here
        assert seen.calls() == [
            "first conv2d weight <- input",
            "norm batch_norm normalisation <- first",
            "rectify relu activation <- norm",
            "second conv2d weight <- rectify",
            "#add add skip <- second, rectify",
            "rectify@2 relu activation <- #add",
            "#setitem setitem other <- rectify@2",
            "#mean mean other <- #setitem",
            "#mul mul other <- #mean",
            "head linear weight <- #mul",
            f"{LOSS} head",
        ]
        assert seen.followers() == {"first": "relu", "second": "relu", "head": ""}
        assert [seen.node(n).units for n in ("rectify", "rectify@2")] == [8, 8]


def test_detached_and_ungraded_parts(see, x, y):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.t = (nn.Linear(16, 16) for _ in range(3))
            self.c = nn.Linear(16, 4)

        def forward(self, x):
            with torch.no_grad():
                teacher = torch.tanh(self.t(x))
            h = torch.relu(self.a(x))
            return self.c(torch.relu(self.b(h.detach())) + teacher + h)

    net = Net()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls()[:-2] == [
        "t linear weight <- input",
        "#tanh tanh activation <- t",
        "a linear weight <- input",
        "#relu relu activation <- a",
        "b linear weight <- #relu",
        "#relu.2 relu activation <- b",
        "#add add skip <- #relu.2, #tanh",
        "#add.2 add skip <- #add, #relu",
    ]
    assert [n.name for n in seen.nodes[1:] if n.gradient is None] == ["t", "#tanh"]
    assert seen.recording.gradients["t.weight"] is None


def test_embeddings(see, y):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(20, 16, sparse=True), nn.Embedding(5, 16)
            self.bag, self.head = nn.EmbeddingBag(20, 16, sparse=True), nn.Linear(16, 4)

        def forward(self, tokens):
            h = torch.tanh(self.words(tokens[:, :5]) + self.places(torch.arange(5)))
            return self.head(h.mean(1) + self.bag(tokens))

    net, tokens = Net(), torch.randint(0, 20, (8, 6))
    seen = see(net, lambda: F.cross_entropy(net(tokens), y))
    assert seen.calls()[:-1] == [
        "words embedding weight <- input",
        "places embedding weight <- ",  # of a constant: depends on no input
        "#add add other <- words, places",  # no branches that parted: no skip
        "#tanh tanh activation <- #add",
        "#mean mean other <- #tanh",
        "bag embedding_bag weight <- input",
        "#add.2 add skip <- #mean, bag",
        "head linear weight <- #add.2",
    ]
    assert seen.nodes[0].rows == 8
    assert seen.recording.gradients["words.weight"] > 0


def test_frozen_layers_and_autocast(see, x, y):
    net = nn.Sequential(
        nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)
    )
    net[0].requires_grad_(False)

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(net(x), y)

    seen = see(net, run)
    assert seen.followers() == {"0": "relu", "2": "relu", "4": ""}
    assert seen.weights()["2"][0] == "2.weight"  # not the copy in half precision
    assert [n.name for n in seen.nodes[1:] if n.gradient is None] == ["0", "1"]
    assert list(seen.recording.gradients) == ["2.weight", "2.bias", "4.weight", "4.bias"]


def test_complex_tensors(see, x, y):
    class Fourier(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(16, 16), nn.Linear(16, 4)
            self.filter = nn.Parameter(torch.randn(9, dtype=torch.cfloat))

        def forward(self, x):
            z = torch.fft.rfft(self.a(x)) * self.filter
            return self.c(torch.relu(torch.fft.irfft(z, n=16)))

    net = Fourier()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.calls()[1:4] == [
        "#fft_rfft fft_rfft other <- a",
        "#mul mul other <- #fft_rfft",
        "#fft_irfft fft_irfft other <- #mul",
    ]
    assert seen.followers() == {"a": "relu", "c": ""}
    assert seen.recording.gradients["filter"] > 0


def test_parameters_without_modules(see, x, y):
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(16, 32))
            self.v = nn.Parameter(torch.randn(4, 24))
            self.k = nn.Parameter(torch.randn(32, 24))

        def forward(self, x):
            h = F.silu(torch.einsum("bi,ij->bj", torch.relu(x @ self.w), self.k))
            return h @ self.v.T

    net = Raw()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.weights() == {
        "#matmul": ("w", 16, 32, 32),
        "#einsum": ("k", 32, 24, 24),
        "#matmul.2": ("v", 24, 4, 4),
    }
    assert seen.followers() == {"#matmul": "relu", "#einsum": "silu", "#matmul.2": ""}


def test_an_objective_that_calls_no_module(see, x, y):
    weights = nn.ParameterDict(
        {"w": nn.Parameter(torch.randn(16, 16)), "v": nn.Parameter(torch.randn(4, 16))}
    )

    def run():
        hidden = torch.relu(F.linear(x / 2, weights["w"]))
        return F.cross_entropy(F.linear(hidden, weights["v"]), y)

    seen = see(weights, run, x)
    assert seen.calls() == [
        "div div other <- input",
        "linear linear weight <- div",
        "relu relu activation <- linear",
        "linear.2 linear weight <- relu",
        f"{LOSS} linear.2",
    ]


def test_sequentials_inside_sequentials(see, x, y):
    net = nn.Sequential(
        nn.Sequential(nn.Linear(16, 16), nn.Tanh()),
        nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.1), nn.Linear(16, 4)),
    )
    seen = see(net, lambda: nn.CrossEntropyLoss()(net(x), y))
    assert seen.calls() == [
        "0.0 linear weight <- input",
        "0.1 tanh activation <- 0.0",
        "1.0 linear weight <- 0.1",
        "1.1 dropout other <- 1.0",
        "1.2 linear weight <- 1.1",
        f"{LOSS} 1.2",
    ]


# -- which input carries the signal -----------------------------------------------------------


def test_a_gate_is_not_on_the_main_path(see, y):
    class SqueezeExcite(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 4, groups=2, stride=2)
            self.down, self.up = nn.Linear(8, 2), nn.Linear(2, 8)

        def forward(self, x):
            z = self.a(x)
            gate = torch.sigmoid(self.up(F.relu(self.down(z.mean((2, 3))))))
            return self.b(F.relu(z * gate[:, :, None, None])).mean((2, 3))

    net, x = SqueezeExcite(), torch.randn(8, 3, 6, 6)
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert seen.path() == ["input", "a", "#mul", "#relu.2", "b", "#mean.2", "cross_entropy"]
    assert seen.followers() == {"a": "relu", "down": "relu", "up": "sigmoid", "b": ""}
    # Two groups of four channels, 4 x 4 pixels; each input reaches a quarter of them by stride 2.
    assert seen.weights()["b"] == ("b.weight", 4 * 16, 2 * 16 / 4, 4)


def test_dense_connections_meet_again(see, x, y):
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(32, 4)

        def forward(self, x):
            z = self.a(x)
            return self.c(torch.cat([z, torch.relu(self.b(z))], 1))

    net = Dense()
    seen = see(net, lambda: F.cross_entropy(net(x), y))
    assert "#cat cat skip <- a, #relu" in seen.calls()
    assert seen.path() == ["input", "a", "b", "#relu", "#cat", "c", "cross_entropy"]


# -- a recorder disturbs nobody ---------------------------------------------------------------


def test_failures_of_its_own_never_reach_the_pass(x, y, monkeypatch):
    net = Hidden()
    expected = F.cross_entropy(net(x), y)
    recorder = Recorder(net)

    def broken(*_):
        raise RuntimeError("on purpose")

    monkeypatch.setattr(recorder.graph, "observe", broken)
    with recorder.watching():
        loss = F.cross_entropy(net(x), y)
    assert torch.equal(loss, expected)
    assert [str(f) for f in recorder.failures] == ["on purpose"] * 3  # then it is silent


def test_nothing_of_the_pass_is_kept_alive(x, y):
    net = Hidden()
    recorder = Recorder(net)
    with recorder.watching():
        loss = F.cross_entropy(net(x), y)
    loss.backward()
    held = torch.autograd.graph.Node
    assert not [v for n in recorder.nodes for v in vars_of(n) if isinstance(v, held)]
    sizes = [v.numel() for n in recorder.nodes for v in vars_of(n) if isinstance(v, torch.Tensor)]
    assert max(sizes) <= 32 * 128


def vars_of(node):
    return [getattr(node, field.name) for field in dataclasses.fields(node)]
