"""How results are looked at: figures, notebook fragments and self-contained pages.

Takes results, never models. The terminal's side, which needs rich, is `sounding.view.terminal`.
"""

from sounding.view.figures import plot
from sounding.view.page import html, report

__all__ = ["html", "plot", "report"]
