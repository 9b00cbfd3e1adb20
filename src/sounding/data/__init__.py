"""Small data sets, and readers of the field's file layouts; nothing is ever downloaded."""

from sounding.data.cifar_files import cifar10
from sounding.data.handwritten import Digits, digits
from sounding.data.idx_files import idx
from sounding.data.labelled import Labelled
from sounding.data.synthetic import clusters

__all__ = ["Digits", "Labelled", "cifar10", "clusters", "digits", "idx"]
