"""Losses with known landscapes, as modules whose forward gives the loss: the ground truth."""

from sounding.problems.factorisation import AsymmetricFactorisation, SymmetricFactorisation
from sounding.problems.known import KINDS, Known
from sounding.problems.problem import Problem

__all__ = [
    "KINDS",
    "AsymmetricFactorisation",
    "Known",
    "Problem",
    "SymmetricFactorisation",
]
