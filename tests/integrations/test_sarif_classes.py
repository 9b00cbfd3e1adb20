"""SARIF read by classes that were generated from the official schema and forbid all else."""

import pytest
import torch
from loops import net, samples
from torch.nn.functional import cross_entropy

import sounding
from sounding.integrations.sarif import sarif

pytestmark = pytest.mark.hosts


def test_a_document_fits_the_official_schema():
    from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

    torch.manual_seed(0)
    exam = sounding.checkup(net(sick=True), cross_entropy, samples())
    read = Sarif.model_validate(sarif(exam, "net.py"))
    (result,) = read.runs[0].results
    assert result.ruleId == "SD401"
    assert result.level.value == "error"
    assert result.locations[0].physicalLocation.region.startLine >= 1
