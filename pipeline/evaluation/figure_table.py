"""Names, units and tolerances of the figures of musical_figures.py, without its libraries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final


@dataclasses.dataclass(frozen=True)
class Figure:
    """What a figure is called and how finely it is worth telling apart.

    Attributes:
      title: What the figure says, for the table and the page.
      unit: Unit of its values; empty for shares and correlations.
      tolerance: A difference of means that a listener would not notice. Real recordings that hardly
        differ from one another are given at least this spread, so no figure is divided by a number
        near zero.
    """

    title: str
    unit: str = ""
    tolerance: float = 0.02


FIGURES: Final[Mapping[str, Figure]] = {
    "partials_100ms": Figure("partials that last 0.1 s", tolerance=0.03),
    "partials_500ms": Figure("partials that last 0.5 s", tolerance=0.03),
    "partials_1s": Figure("partials that last 1 s", tolerance=0.03),
    "harmonic_share": Figure("harmonic share of the energy", tolerance=0.03),
    "flatness_db": Figure("spectral flatness", unit="dB", tolerance=1.5),
    "top_pitches": Figure("share of the three strongest pitch classes", tolerance=0.02),
    "chord_kept_500ms": Figure("chroma kept after 0.5 s", tolerance=0.02),
    "chord_kept_2s": Figure("chroma kept after 2 s", tolerance=0.03),
    "chord_changes": Figure("half seconds that change the chord", tolerance=0.05),
    "recurrence": Figure("half seconds that come back", tolerance=0.02),
    "beat": Figure("onset regularity at the beat", tolerance=0.05),
    "attack": Figure("attacks steeper than decays", tolerance=0.1),
    "movement": Figure("movement from frame to frame", unit="nats", tolerance=0.02),
    "variance": Figure("variance over time", unit="nats²", tolerance=0.2),
    "brightness_octaves": Figure("spectral centroid", unit="octaves", tolerance=0.1),
    "level_drift_db": Figure("level drift", unit="dB", tolerance=1.0),
}
