"""The colours of the figures: Okabe and Ito's, told apart by readers who see no red or no green."""

from __future__ import annotations

ORANGE = "#e69f00"
SKY = "#56b4e9"
GREEN = "#009e73"
YELLOW = "#f0e442"
BLUE = "#0072b2"
VERMILLION = "#d55e00"
PURPLE = "#cc79a7"
GREY = "#9aa3ab"
