"""Losses with known landscapes, as modules whose forward gives the loss: the ground truth."""

from sounding.problems.classics import Himmelblau, Rosenbrock
from sounding.problems.cliffs import Cosh, Recurrence
from sounding.problems.completion import MatrixCompletion
from sounding.problems.factorisation import AsymmetricFactorisation, SymmetricFactorisation
from sounding.problems.known import KINDS, Known
from sounding.problems.linear_network import LinearNetwork
from sounding.problems.phase_retrieval import PhaseRetrieval
from sounding.problems.problem import Problem
from sounding.problems.quadratic_network import QuadraticNetwork
from sounding.problems.sensing import MatrixSensing, SpuriousSensing
from sounding.problems.staircase import Staircase
from sounding.problems.student_descent import Descents, descend, published_table
from sounding.problems.student_teacher import StudentTeacher
from sounding.problems.tensor import TensorComponent, TensorDecomposition
from sounding.problems.textbook import TEXTBOOK, Pitchfork, Textbook

__all__ = [
    "KINDS",
    "TEXTBOOK",
    "AsymmetricFactorisation",
    "Cosh",
    "Descents",
    "Himmelblau",
    "Known",
    "LinearNetwork",
    "MatrixCompletion",
    "MatrixSensing",
    "PhaseRetrieval",
    "Pitchfork",
    "Problem",
    "QuadraticNetwork",
    "Recurrence",
    "Rosenbrock",
    "SpuriousSensing",
    "Staircase",
    "StudentTeacher",
    "SymmetricFactorisation",
    "TensorComponent",
    "TensorDecomposition",
    "Textbook",
    "descend",
    "published_table",
]
