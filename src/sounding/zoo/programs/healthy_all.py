"""All healthy programs: what looks odd in them is meant, or does no harm."""

from __future__ import annotations

from sounding.zoo.program import Program
from sounding.zoo.programs.healthy import PLAIN
from sounding.zoo.programs.healthy_agents import AGENTS
from sounding.zoo.programs.healthy_finetune import FINE_TUNING
from sounding.zoo.programs.healthy_generative import GENERATIVE
from sounding.zoo.programs.healthy_images import IMAGE_NETS
from sounding.zoo.programs.healthy_inputs import INPUTS
from sounding.zoo.programs.healthy_losses import LOSSES
from sounding.zoo.programs.healthy_moments import MOMENTS
from sounding.zoo.programs.healthy_optimisers import OPTIMISERS
from sounding.zoo.programs.healthy_pairs import PAIRS
from sounding.zoo.programs.healthy_recurrent import RECURRENT
from sounding.zoo.programs.healthy_steps import STEPS
from sounding.zoo.programs.healthy_transformers import TRANSFORMERS
from sounding.zoo.programs.parts import HEALTHY_PARTS

HEALTHY_PROGRAMS: tuple[Program, ...] = (
    *PLAIN,
    *MOMENTS,
    *IMAGE_NETS,
    *INPUTS,
    *TRANSFORMERS,
    *RECURRENT,
    *LOSSES,
    *OPTIMISERS,
    *STEPS,
    *PAIRS,
    *GENERATIVE,
    *FINE_TUNING,
    *AGENTS,
    *HEALTHY_PARTS,
)
