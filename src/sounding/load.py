"""Read a saved result back, whatever its kind."""

from __future__ import annotations

import json
import os
from pathlib import Path as FilePath

from sounding.compare import Comparison
from sounding.confusion import Confusion, Visit
from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.curvature.spectrum import Spectrum
from sounding.exam import Checkup
from sounding.landscape.atlas import Atlas
from sounding.landscape.escape import Escape
from sounding.landscape.paths import Path
from sounding.landscape.stationary_point import StationaryPoint
from sounding.landscape.surface import Surface
from sounding.measure.ranks import Ranks
from sounding.measure.readings import Attribution, Readings
from sounding.measure.widths import CoordinateCheck
from sounding.prove import Proof, Repair
from sounding.rate_range import RateRange
from sounding.result import SCHEMA, Profile, Result, Series
from sounding.run import Run
from sounding.studies import Studies, Study
from sounding.train import Trial
from sounding.verdict import Verdict
from sounding.watch import Training, Watched
from sounding.watch.ranks import gathered
from sounding.watch.reader import is_run

KINDS: tuple[type[Result], ...] = (
    Atlas,
    Attribution,
    Checkup,
    Comparison,
    Confusion,
    CoordinateCheck,
    Density,
    Eigenpairs,
    Escape,
    Estimate,
    Path,
    Profile,
    Proof,
    Ranks,
    RateRange,
    Readings,
    Repair,
    Run,
    Series,
    Sharpness,
    SharpnessSeries,
    Spectrum,
    StationaryPoint,
    Studies,
    Study,
    Surface,
    Training,
    Trial,
    Verdict,
    Visit,
    Watched,
)


def load(path: str | os.PathLike[str]) -> Result:
    """The result that was saved to `path`, equal to the one that was saved.

    The file of a watched run is read too, also while the run goes on; of several processes those
    of the others beside it as well.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, of another program, or of a later version.
    """
    if is_run(path):
        return gathered(path)
    try:
        document = json.loads(FilePath(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no whole JSON file: truncated, or not saved here") from error
    if not isinstance(document, dict) or "sounding" not in document:
        raise ValueError(f"{path} is JSON, but not a result that Sounding saved")
    if document["sounding"] != SCHEMA:
        raise ValueError(
            f"{path} was saved in format {document['sounding']}, this version reads {SCHEMA}; "
            "install the version of sounding that wrote it, or a newer one"
        )
    data = document.get("result")
    kind = data.get("kind") if isinstance(data, dict) else None
    for known in KINDS:
        if known.__name__ == kind and isinstance(data, dict):
            return _read(known, data, path)
    raise ValueError(f"{path} holds a {kind!r}, which this version does not know")


def _read(kind: type[Result], data: dict, path: str | os.PathLike[str]) -> Result:
    try:
        return kind.from_dict(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
