"""The verdict on a model: its figures against limits and against the last blessed model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.config.sections import EvaluateSettings
from pipeline.evaluation.faults import FAULTS

# Increased if the meaning of a figure changes: only figures of one version are compared.
FIGURES_VERSION = 2

# Name of the file with an evaluation's figures and reasons.
REPORT = "evaluation.json"
# Name of the folder with an evaluation's pictures.
PICTURES = "pictures"

Check = tuple[bool, str]

_NO_HELD_OUT = (
    "no recording is held out that is as long as a training window: add recordings, so that the "
    "eval split has one"
)
# The limits, each for evaluate.tolerance=1. They were set between models that are known to be good
# and bad, see docs/evaluation.md.
# Largest share of rollouts that may have a fault.
_MAX_FAULTY_SHARE = 0.25
# Smallest ratio of movement, and of variance over time, to real recordings'. A drone or a loop has
# too little of one of them.
_MIN_RATIO = 0.65
# Largest ratio of movement, and of variance over time, to real recordings'.
_MAX_RATIO = 1.6
# Smallest regularity of the rhythm, as a ratio to real recordings'.
_MIN_RHYTHM_RATIO = 0.25
# Smallest attack sharpness, as a ratio to real recordings'; music played backwards has -1.
_MIN_ATTACK_RATIO = -0.25
# Smallest difference of two clips of one primer, as a ratio to two passages of one recording.
_MIN_DIVERSITY_RATIO = 0.4
# Largest drift of the level, as a ratio to real recordings'.
_MAX_DRIFT_RATIO = 4.0
# Largest distance from real continuations, as a ratio to other real music of the collection.
_MAX_KERNEL_RATIO = 2.0
# Largest share of stretches that may be copies of training recordings, beyond the share of real
# held-out stretches that are.
_MAX_COPIED_SHARE = 0.2
# Figures that are compared with the last blessed model's: the figure, its interval, its name, and
# 1 if higher is worse or -1 if lower is worse.
_COMPARED = (
    ("kernel_ratio", "kernel_ratio_interval", "distance ratio", 1),
    ("rhythm_ratio", "rhythm_interval", "rhythm ratio", -1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a model is blessed, and why.

    Attributes:
      blessed: Whether every check passed.
      reasons: One line for each check, starting with `pass` or `FAIL`.
      figures: The measured figures: numbers, intervals, or None if there is no value.
      clips: Description of each rollout.
      model_id: Id of the model.
      dataset_id: Id of the dataset that it was evaluated on.
      version: FIGURES_VERSION.
    """

    blessed: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any]
    clips: tuple[dict[str, Any], ...] = ()
    model_id: str = ""
    dataset_id: str = ""
    version: int = FIGURES_VERSION

    def to_json(self) -> str:
        """Returns the verdict as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"


def judge(
    figures: dict[str, Any],
    settings: EvaluateSettings,
    last_blessed: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> Verdict:
    """Checks figures against the limits and against the last blessed model.

    Args:
      figures: Figures of next_frame_figures.py and rollout_figures.py.
      settings: How far the figures may be from real music's.
      last_blessed: Content of the evaluation.json of the last blessed model.
      **attributes: Other attributes of the verdict.
    """
    if figures["mse"] is None:
        checks = [(False, _NO_HELD_OUT)]
    else:
        checks = [*_check_limits(figures, settings), *_check_copies(figures, settings)]
        if settings.refuse_worse and last_blessed is not None:
            checks += _compare(figures, last_blessed)
    return Verdict(
        blessed=all(passed for passed, _ in checks),
        reasons=tuple(f"{'pass' if passed else 'FAIL'}: {text}" for passed, text in checks),
        figures=figures,
        **attributes,
    )


def _check_limits(figures: Mapping[str, Any], settings: EvaluateSettings) -> Iterator[Check]:
    share, maximum = figures["faulty_share"], settings.tolerance * _MAX_FAULTY_SHARE
    shares = {fault: figures[f"{fault}_share"] for fault in FAULTS}
    faults = ", ".join(f"{shares[fault]:.0%} {fault}" for fault in FAULTS if shares[fault])
    yield (
        share <= maximum,
        f"{share:.0%} of {figures['rollouts']} rollouts have a fault "
        f"({faults or 'none'}; maximum {maximum:.0%})",
    )
    minimum, maximum = (_limit(ratio, settings) for ratio in (_MIN_RATIO, _MAX_RATIO))
    for name, text in (("movement", "movement"), ("variance", "variance over time")):
        ratio = figures[f"{name}_ratio"]
        yield (
            minimum <= ratio <= maximum,
            f"{text} is {ratio:.2f} of real recordings' (minimum {minimum:g}, maximum {maximum:g})",
        )
    for name, text, bound in (
        ("rhythm", "regularity of the rhythm", _MIN_RHYTHM_RATIO),
        ("attack", "attack sharpness", _MIN_ATTACK_RATIO),
    ):
        ratio, minimum = figures[f"{name}_ratio"], _limit(bound, settings)
        yield ratio >= minimum, f"{text} is {ratio:.2f} of real recordings' (minimum {minimum:g})"
    ratio, minimum = figures["diversity_ratio"], _limit(_MIN_DIVERSITY_RATIO, settings)
    yield (
        ratio >= minimum,
        f"two clips of one primer differ {ratio:.2f} times as much as two passages of one "
        f"recording (minimum {minimum:g})",
    )
    ratio, maximum = figures["drift_ratio"], _limit(_MAX_DRIFT_RATIO, settings)
    yield (
        ratio <= maximum,
        f"the level drifts by {figures['drift_db']:.1f} dB, {ratio:.1f} times as much as in real "
        f"recordings (maximum {maximum:g})",
    )
    ratio, maximum = figures["kernel_ratio"], _limit(_MAX_KERNEL_RATIO, settings)
    yield (
        ratio <= maximum,
        f"distance from real recordings is {figures['kernel_distance']:.0f}, that of other real "
        f"recordings is {figures['real_kernel_distance']:.0f}: the ratio is {ratio:.2f} (maximum "
        f"{maximum:g})",
    )


def _limit(ratio: float, settings: EvaluateSettings) -> float:
    """Returns a limit on a ratio to real music, moved away from 1 by the tolerance."""
    return 1 + settings.tolerance * (ratio - 1)


def _check_copies(figures: Mapping[str, Any], settings: EvaluateSettings) -> Iterator[Check]:
    share, real = figures["copied_share"], figures["real_copied_share"]
    maximum = settings.tolerance * _MAX_COPIED_SHARE
    if share is not None:
        yield (
            share <= real + maximum,
            f"{share:.0%} of stretches are copies of training recordings; of real held-out "
            f"stretches, {real:.0%} are (maximum {maximum:.0%} more)",
        )


def _compare(figures: Mapping[str, Any], last_blessed: Mapping[str, Any]) -> Iterator[Check]:
    """Yields the checks against the last blessed model: its interval must not be clearly better."""
    old = last_blessed["figures"]
    if last_blessed.get("version") != FIGURES_VERSION or old.get("kernel_ratio") is None:
        yield True, "the last blessed model has figures of another version: not compared"
        return
    for name, interval_name, text, sign in _COMPARED:
        interval, old_interval = figures[interval_name], old[interval_name]
        worse = interval[0] > old_interval[1] if sign > 0 else interval[1] < old_interval[0]
        yield (
            not worse,
            f"{text} is {_with_interval(figures[name], interval)}; the last blessed model, "
            f"{last_blessed['model_id']}, had {_with_interval(old[name], old_interval)}; it "
            "must not be clearly worse",
        )


def _with_interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


# The rows of the table: the figure, its name, and the value of real recordings: a number or the
# name of another figure.
_TABLE = (
    ("movement_ratio", "movement ratio", "1"),
    ("variance_ratio", "variance ratio", "1"),
    ("rhythm_ratio", "rhythm ratio", "1"),
    ("attack_ratio", "attack ratio", "1"),
    ("drift_db", "level drift, dB", "real_drift_db"),
    ("kernel_distance", "distance from real continuations", "real_kernel_distance"),
    ("faulty_share", "share of clips with a fault", "real_faulty_share"),
    ("diversity_ratio", "difference of clips of one primer, ratio", "1"),
    ("nearest_ratio", "distance to the nearest training stretch, ratio", "1"),
    ("copied_share", "share of stretches copied from training", "real_copied_share"),
    ("mse_ratio", "next-frame error / error of repeating the last", "linear_mse_ratio"),
    ("nll", "negative log-likelihood, nats per frame", ""),
    ("same_kernel_distance", "distance of other passages of the recordings", ""),
    ("vocoder_kernel_distance", "the same, before the vocoder", ""),
    ("vocoder_error_db", "error of the vocoder, dB", ""),
)


def format_table(verdict: Verdict) -> list[str]:
    """Returns the figures as lines of text: model, 90% interval, and real recordings."""
    figures = verdict.figures
    lines = [f"{'':<52}{'model':>8}  {'90% interval':^18}{'real':>8}"]
    for name, text, real in _TABLE:
        if figures.get(name) is None:
            continue
        stem = name.removesuffix("_ratio").removesuffix("_distance")
        interval = figures.get(f"{stem}_interval")
        between = f"{_short(interval[0])} to {_short(interval[1])}" if interval else ""
        real_value = _short(figures[real]) if real in figures else real
        lines.append(f"{text:<52}{_short(figures[name]):>8}  {between:^18}{real_value:>8}")
    return [line.rstrip() for line in lines]


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
