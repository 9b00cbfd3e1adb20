"""Losses, and whole models that need one of their own."""

from collections.abc import Callable

import torch
from catalogue_networks import CLASSES, FEATURES, SAMPLES, Case, classes, mlp, numbers, under
from torch import nn
from torch.nn import functional as F

from sounding.objective import Objective


class Nested(nn.Module):
    """Lists of lists of layers and parameters; a list of a tensor and a dictionary comes out."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3)]), nn.Linear(3, CLASSES)]
        )
        self.scales = nn.ParameterList([torch.ones(3), torch.full((3,), 0.5)])

    def forward(self, x):
        hidden = sum(torch.tanh(f(x)) * s for f, s in zip(self.layers[0], self.scales, strict=True))
        return [self.layers[1](hidden), {"hidden": hidden}]


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.middle = nn.Linear(2, 3), nn.Bilinear(3, 2, 2)
        self.after = nn.Linear(2, CLASSES)

    def forward(self, first, second):
        return self.after(torch.tanh(self.middle(self.before(first), second)))


def in_precision(dtype):
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.GELU(), nn.Linear(4, CLASSES)).to(dtype)
    return Case(model, in_float32_or_more, (numbers().to(dtype), classes()))


class Transcription(nn.Module):
    """Connectionist temporal classification of four steps and three symbols."""

    def forward(self, output, target):
        scores = output.view(-1, 4, 3).log_softmax(-1).transpose(0, 1)
        lengths = torch.full((len(output),), 4), torch.full((len(output),), 2)
        return F.ctc_loss(scores, target, *lengths)


class Contrast(nn.Module):
    """Each sample against all others of the batch."""

    def forward(self, output, target):
        directions = F.normalize(output, dim=1)
        likeness = directions @ directions.T / 0.5
        return F.cross_entropy(likeness - 100 * torch.eye(len(output)), target)


class OwnTarget(nn.Module):
    """Chases its own output, through which no gradient flows."""

    def forward(self, output, target):
        return F.mse_loss(output, output.detach().roll(1, dims=0) + target[:, None])


def in_float32_or_more(output, target):
    return F.cross_entropy(output.to(torch.promote_types(output.dtype, torch.float32)), target)


class DoubledGradient(nn.Module):
    """Twice the gradient that it should have: symmetric, consistent, and not the loss's."""

    def forward(self, output, target):
        loss = F.cross_entropy(output, target)
        if loss.requires_grad:
            loss.register_hook(lambda gradient: 2 * gradient)
        return loss


class TranscriptionInFloat32(Transcription):
    def forward(self, output, target):
        return super().forward(output.float(), target)


def divergence(output, target):
    return F.kl_div(output.log_softmax(-1), target, reduction="batchmean")


def negative_log_likelihood(output, target):
    return F.nll_loss(output.log_softmax(-1), target, ignore_index=-100)


def smoothed(output, target):
    return F.cross_entropy(output, target, label_smoothing=0.1)


def of_a_list(output, target):
    return F.cross_entropy(output[0], target) + output[1]["hidden"].square().mean()


def penalised(model, batch):
    """With a penalty on the gradient to the input: a second derivative in the loss itself."""
    x = batch["x"].clone().requires_grad_()
    output = model(x)
    (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    return F.cross_entropy(output, batch["y"]) + 0.1 * slope.square().mean()


LOSSES: dict[str, Callable[[], Case]] = {
    "bfloat16 model": lambda: in_precision(torch.bfloat16),
    "float64 model": lambda: in_precision(torch.float64),
    "nested lists": lambda: Case(Nested(), of_a_list, (numbers(), classes())),
    "two inputs": lambda: Case(TwoInputs(), F.cross_entropy, ((numbers(), numbers()), classes())),
    "gradient penalty": lambda: Case(mlp(), Objective(penalised), {"x": numbers(), "y": classes()}),
    "BCEWithLogits": lambda: under(nn.BCEWithLogitsLoss(), torch.rand(SAMPLES, CLASSES)),
    "CTC": lambda: under(Transcription(), torch.randint(1, 3, (SAMPLES, 2)), outputs=12),
    "CTC in float32": lambda: under(
        TranscriptionInFloat32(), torch.randint(1, 3, (SAMPLES, 2)), outputs=12
    ),
    "label smoothing": lambda: under(smoothed, classes()),
    "KLDiv": lambda: under(divergence, torch.rand(SAMPLES, CLASSES).softmax(-1)),
    "Huber": lambda: under(nn.HuberLoss(delta=0.7), torch.randn(SAMPLES, CLASSES)),
    "NLL ignore_index": lambda: under(
        negative_log_likelihood, torch.tensor([0, -100, 2, 1, -100, 0])
    ),
    "contrast within the batch": lambda: under(Contrast(), torch.tensor([1, 0, 3, 2, 5, 4])),
    "gradient doubled by the loss": lambda: under(DoubledGradient(), classes()),
    "own output as target": lambda: under(OwnTarget(), torch.randn(SAMPLES)),
}
