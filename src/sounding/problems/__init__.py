"""Losses with known landscapes, as modules whose forward gives the loss: the ground truth."""

from sounding.problems.catalogue import ENUMERABLE, OTHERS, random_critical_points
from sounding.problems.classics import Himmelblau, Rosenbrock
from sounding.problems.cliffs import Cosh, Recurrence
from sounding.problems.completion import MatrixCompletion
from sounding.problems.descent import Ends, Noise, descend_together
from sounding.problems.factorisation import AsymmetricFactorisation, SymmetricFactorisation
from sounding.problems.known import KINDS, Known
from sounding.problems.linear_network import LinearNetwork
from sounding.problems.phase_retrieval import PhaseRetrieval
from sounding.problems.problem import Problem
from sounding.problems.quadratic_network import QuadraticNetwork
from sounding.problems.sensing import MatrixSensing, SpuriousSensing
from sounding.problems.separable import SeparableData
from sounding.problems.smooth_student import SMOOTH, SmoothStudentTeacher
from sounding.problems.staircase import Staircase
from sounding.problems.student_descent import Descents, bad_minima, descend, published_table
from sounding.problems.student_teacher import StudentTeacher, spurious_minimum
from sounding.problems.tensor import TensorComponent, TensorDecomposition
from sounding.problems.textbook import TEXTBOOK, Pitchfork, Textbook
from sounding.problems.three_points import SlightRectifier, ThreePoints

__all__ = [
    "ENUMERABLE",
    "KINDS",
    "OTHERS",
    "SMOOTH",
    "TEXTBOOK",
    "AsymmetricFactorisation",
    "Cosh",
    "Descents",
    "Ends",
    "Himmelblau",
    "Known",
    "LinearNetwork",
    "MatrixCompletion",
    "MatrixSensing",
    "Noise",
    "PhaseRetrieval",
    "Pitchfork",
    "Problem",
    "QuadraticNetwork",
    "Recurrence",
    "Rosenbrock",
    "SeparableData",
    "SlightRectifier",
    "SmoothStudentTeacher",
    "SpuriousSensing",
    "Staircase",
    "StudentTeacher",
    "SymmetricFactorisation",
    "TensorComponent",
    "TensorDecomposition",
    "Textbook",
    "ThreePoints",
    "bad_minima",
    "descend",
    "descend_together",
    "published_table",
    "random_critical_points",
    "spurious_minimum",
]
