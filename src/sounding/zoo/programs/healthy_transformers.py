"""Healthy trainings of transformers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sounding.zoo import samples
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.usual import batches, ending, fit, split
from sounding.zoo.sequences import Block, LanguageModel


def language_model(_: bool) -> float:
    """Pre-norm, decoupled decay on all weights, clipped in every step, linear decay to zero."""
    net = LanguageModel(depth=3)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=120)
    return -fit(
        *(net, optimiser, samples.sentences(), functional.cross_entropy),
        steps=120,
        size=16,
        clip=1.0,
        schedule=schedule,
    )


def tied_language_model(_: bool) -> float:
    """One table of small weights at both ends; norms and biases without decay."""
    net = LanguageModel(depth=2, tied=True)
    matrices = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=3e-3,
        betas=(0.9, 0.95),
    )
    return -fit(
        *(net, optimiser, samples.sentences(), functional.cross_entropy), size=16, steps=150
    )


def warmed_up_transformer(_: bool) -> float:
    """Post-norm, which needs its warm-up."""
    net = LanguageModel(depth=2, before=False)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 0.02, 1.0, total_iters=50)
    return -fit(
        *(net, optimiser, samples.sentences(), functional.cross_entropy),
        steps=200,
        size=16,
        schedule=schedule,
    )


class PaddedVocabulary(nn.Module):
    """A head with more rows than there are tokens, as it suits a device; it returns its loss."""

    def __init__(self, rows: int = 64, width: int = 48) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width)
        self.block = Block(width, before=True, causal=True)
        self.head = nn.Linear(width, rows)

    def forward(
        self, tokens: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Scores (samples, tokens, rows), and the loss if there are labels."""
        logits = self.head(self.block(self.table(tokens)))
        if labels is None:
            return {"logits": logits}
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        return {"loss": loss, "logits": logits}


def padded_vocabulary(_: bool) -> float:
    """Half of the classes never occur, a tenth of the labels is ignored, the model has the loss."""
    (tokens, following), test = split(samples.sentences())
    following = following.masked_fill(torch.rand(following.shape) < 0.1, -100)
    net = PaddedVocabulary()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for x, y in batches((tokens, following), size=16, steps=150):
        output = net(tokens=x, labels=y)
        output["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(output["loss"].item())
    net.eval()
    with torch.inference_mode():
        net(tokens=test[0])["logits"].argmax(-1)
    return -ending(losses)


class Checkpointed(nn.Module):
    """Blocks whose activations are computed again in the backward pass (Chen et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(samples.TOKENS, 48)
        self.blocks = nn.ModuleList(Block(48, before=True, causal=True) for _ in range(2))
        self.head = nn.Linear(48, samples.TOKENS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, (samples, TOKENS, tokens)."""
        x = self.table(tokens)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.head(x).transpose(1, 2)


def checkpointed(_: bool) -> float:
    """Every block runs twice a step."""
    net = Checkpointed()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    return -fit(
        *(net, optimiser, samples.sentences(), functional.cross_entropy), size=16, steps=120
    )


class TextClassifier(nn.Module):
    """Torch's own encoder, its padding masked; words are pooled by attention."""

    def __init__(self, words: int = 201, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width, padding_idx=200)
        layer = nn.TransformerEncoderLayer(
            width, 4, 64, dropout=0.1, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.score = nn.Linear(width, 1)
        self.head = nn.Linear(width, 5)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        padding = words == 200
        x = self.encoder(self.table(words), src_key_padding_mask=padding)
        weight = self.score(x).masked_fill(padding[..., None], -1e9).softmax(1)
        return self.head((weight * x).sum(1))


def padded_texts(_: bool) -> float:
    """Texts of several lengths, a softmax over the words of a text of one column."""
    words, topic = tasks.bags()
    length = torch.randint(6, 11, (len(words), 1))
    words = words.masked_fill(torch.arange(words.shape[1]) >= length, 200)
    net = TextClassifier()
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    return -fit(net, optimiser, (words, topic), functional.cross_entropy, steps=200)


TRANSFORMERS: tuple[Program, ...] = (
    Program(
        "language model",
        language_model,
        (),
        "loss stays high, clipping sets the rate, schedule ended early: ln 2 is the floor, Adam "
        "divides the clipping out, and the decay to zero is the plan",
    ),
    Program(
        "language model with tied embeddings",
        tied_language_model,
        (),
        "initial output, missing from the optimiser: one small table with two names",
    ),
    Program(
        "transformer normalised after",
        warmed_up_transformer,
        (),
        "learning rate too low: it is, for the first steps, on purpose",
    ),
    Program(
        "padded vocabulary",
        padded_vocabulary,
        (),
        "label range, unused outputs: 32 rows of the head are padding; the loss is made inside",
    ),
    Program(
        "checkpointed blocks",
        checkpointed,
        (),
        "accumulated gradients, repeated calls: each block runs again in the backward pass",
    ),
    Program(
        "padded texts",
        padded_texts,
        (),
        "constant output, non-finite: a softmax over words of one column, padding set to -1e9",
    ),
)
