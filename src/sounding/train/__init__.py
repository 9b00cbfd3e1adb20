"""Training runs: cases, recipes, trials, and the only training loop."""

from sounding.train.case import Case, first_batch
from sounding.train.inputs import check_batch, check_model, check_numbers, explained
from sounding.train.loop import train
from sounding.train.many import train_many
from sounding.train.progress import Progress, silent
from sounding.train.recipe import Recipe, make_optimiser
from sounding.train.seeding import random_state_given_back, seeded
from sounding.train.trial import Trial, final_loss, final_mean

__all__ = [
    "Case",
    "Progress",
    "Recipe",
    "Trial",
    "check_batch",
    "check_model",
    "check_numbers",
    "explained",
    "final_loss",
    "final_mean",
    "first_batch",
    "make_optimiser",
    "random_state_given_back",
    "seeded",
    "silent",
    "train",
    "train_many",
]
