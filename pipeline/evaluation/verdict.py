"""Whether a model may be used: its figures against limits and against the last blessed model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.config.sections import EvaluateSettings

# Raised when a figure's meaning changes: only figures of one version are compared.
FIGURES_VERSION = 2

# Names of what an evaluation writes: its figures and reasons, and a folder of pictures.
REPORT = "evaluation.json"
PICTURES = "pictures"
_NO_MUSIC = (
    "no recording is held out that is as long as a window of training: add recordings, so that "
    "eval has one"
)
# The limits, each for evaluate.tolerance=1. They were set between models that are known to be good
# and bad, see docs/evaluation.md.
# Share of the rollouts that may be dead, diverged or fading, drone, or loop.
_MAX_FAULTY_SHARE = 0.25
# Movement from frame to frame, and variance over time, of those of real recordings. A drone or a
# loop has too little of one of them.
_MIN_RATIO = 0.65
_MAX_RATIO = 1.6
# Regularity of onsets, of that of real recordings.
_MIN_RHYTHM_RATIO = 0.25
# How much more steeply sound rises than it falls, of that of real music; reversed music has -1.
_MIN_ATTACK_RATIO = -0.25
# Difference of two clips of one primer, of that of two passages of one recording.
_MIN_DIVERSITY_RATIO = 0.4
# Drift of the level, of that of real recordings.
_MAX_DRIFT_RATIO = 4.0
# Distance from real continuations, of that of other real music of the same collection.
_MAX_KERNEL_RATIO = 2.0
# Share of the stretches that may be copies of training recordings, beyond real held-out music's.
_MAX_COPIED_SHARE = 0.2
# What is held against the last blessed model, and which way it is worse.
_COMPARED = (
    ("kernel_ratio", "kernel_ratio_interval", "distance, of that of other real music,", 1),
    ("rhythm_ratio", "rhythm_interval", "rhythm, of real,", -1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a model may be used, and why.

    Attributes:
      blessed: whether it passed.
      reasons: one line for every check, starting with `pass` or `FAIL`.
      figures: what was measured: numbers, intervals of two, or None where there is none.
      clips: what is known of each rollout.
      model_id: whose rollouts they are.
      dataset_id: what they were held against.
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
    measured: dict[str, Any],
    settings: EvaluateSettings,
    before: Mapping[str, Any] | None = None,
    **known: Any,
) -> Verdict:
    """Holds measured figures against the settings' limits.

    Args:
      measured: figures as in next_frame_figures.py and rollout_figures.py.
      settings: the limits.
      before: the verdict on the last blessed model, as its JSON has it.
      **known: other attributes of the verdict.
    """
    if measured["mse"] is None:
        checks = [(False, _NO_MUSIC)]
    else:
        checks = [*_limits(measured, settings), *_copies(measured, settings)]
        if settings.refuse_worse:
            checks += _against(measured, before)
    return Verdict(
        blessed=all(ok for ok, _ in checks),
        reasons=tuple(f"{'pass' if ok else 'FAIL'}: {text}" for ok, text in checks),
        figures=measured,
        **known,
    )


def _limits(found: Mapping[str, Any], limits: EvaluateSettings) -> Iterator[tuple[bool, str]]:
    """Yields whether each check passes, and what it says."""
    share, most_faulty = found["faulty_share"], limits.tolerance * _MAX_FAULTY_SHARE
    kinds = (
        f"{found[f'{kind}_share']:.0%} {name}"
        for kind, name in (
            ("dead", "dead"), ("drone", "drone"), ("loop", "loop"), ("diverged", "diverged"),
            ("fading", "fading"),
        )
        if found[f"{kind}_share"]
    )  # fmt: skip
    yield (
        share <= most_faulty,
        f"{share:.0%} of {found['rollouts']} rollouts are at fault"
        f" ({', '.join(kinds) or 'none'}; at most {most_faulty:.0%})",
    )
    low, high = (_limit(ratio, limits) for ratio in (_MIN_RATIO, _MAX_RATIO))
    for name, text in (("movement", "movement"), ("variance", "variance over time")):
        ratio = found[f"{name}_ratio"]
        yield (
            low <= ratio <= high,
            f"{text} is {ratio:.2f} of that of real recordings (wanted {low:g} to {high:g})",
        )
    for name, text, bound in (
        ("rhythm", "rhythm is as regular as", _MIN_RHYTHM_RATIO),
        ("attack", "sound rises more steeply than it falls by", _MIN_ATTACK_RATIO),
        ("diversity", "clips of one primer differ by", _MIN_DIVERSITY_RATIO),
    ):
        ratio, least = found[f"{name}_ratio"], _limit(bound, limits)
        yield (ratio >= least, f"{text} {ratio:.2f} of what is real (at least {least:g})")
    ratio, most = found["drift_ratio"], _limit(_MAX_DRIFT_RATIO, limits)
    yield (
        ratio <= most,
        f"the level drifts by {found['drift_db']:.1f} dB, {ratio:.1f} times as far as in real "
        f"recordings (at most {most:g})",
    )
    ratio, most = found["kernel_ratio"], _limit(_MAX_KERNEL_RATIO, limits)
    yield (
        ratio <= most,
        f"distance from real recordings is {found['kernel_distance']:.0f}, where other real ones "
        f"have {found['real_kernel_distance']:.0f}: {ratio:.2f} (at most "
        f"{most:g})",
    )


def _limit(ratio: float, settings: EvaluateSettings) -> float:
    """Returns a limit on a ratio to real music, moved away from 1 by the tolerance."""
    return 1 + settings.tolerance * (ratio - 1)


def _copies(found: Mapping[str, Any], limits: EvaluateSettings) -> Iterator[tuple[bool, str]]:
    share, real = found["copied_share"], found["real_copied_share"]
    most = limits.tolerance * _MAX_COPIED_SHARE
    if share is not None:
        yield (
            share <= real + most,
            f"{share:.0%} of stretches are copies of the training recordings, where {real:.0%} of "
            f"real held-out ones are (at most {most:.0%} more)",
        )


def _against(
    found: Mapping[str, Any], before: Mapping[str, Any] | None
) -> Iterator[tuple[bool, str]]:
    """Yields the checks against the last blessed model, where there is one to compare with."""
    if before is None:
        return
    if before.get("version") != FIGURES_VERSION or before["figures"].get("kernel_ratio") is None:
        yield True, "the last blessed model was judged by other figures; it is not compared"
        return
    old = before["figures"]
    for name, interval, text, sign in _COMPARED:
        ours, theirs = (one[interval] for one in (found, old))
        worse = ours[0] > theirs[1] if sign > 0 else ours[1] < theirs[0]
        yield (
            not worse,
            f"{text} is {_spoken(found[name], ours)}, of the last blessed model "
            f"{before['model_id']} {_spoken(old[name], theirs)} (not clearly worse)",
        )


def _spoken(value: float, interval: Sequence[float]) -> str:
    return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


# The rows of the table: figure, text, what real music has.
_TABLE = (
    ("movement_ratio", "movement, of real", "1"),
    ("variance_ratio", "variance over time, of real", "1"),
    ("rhythm_ratio", "rhythm, of real", "1"),
    ("attack_ratio", "attack, of real", "1"),
    ("drift_db", "drift of the level, dB", "real_drift_db"),
    ("kernel_distance", "distance from real continuations", "real_kernel_distance"),
    ("faulty_share", "faulty clips", "real_faulty_share"),
    ("diversity_ratio", "difference of clips of one primer, of real", "1"),
    ("nearest_ratio", "distance to the nearest training stretch, of real", "1"),
    ("copied_share", "stretches copied from training", "real_copied_share"),
    ("mse_ratio", "next-frame error, of repeating the last", "linear_mse_ratio"),
    ("nll", "negative log-likelihood, nats a frame", ""),
    ("same_kernel_distance", "distance of other passages of the same recordings", ""),
    ("vocoder_kernel_distance", "the same before the vocoder", ""),
    ("vocoder_error_db", "error that the vocoder makes, dB", ""),
)


def format_table(verdict: Verdict) -> list[str]:
    """Returns the figures as lines of text: each with its 90% interval and what real music has."""
    found = verdict.figures
    lines = [f"{'':<52}{'model':>8}  {'90% interval':^18}{'real':>8}"]
    for name, text, real in _TABLE:
        if found.get(name) is None:
            continue
        interval = found.get(f"{name.removesuffix('_ratio').removesuffix('_distance')}_interval")
        between = f"{_short(interval[0])} to {_short(interval[1])}" if interval else ""
        beside = _short(found[real]) if real in found else real
        lines.append(f"{text:<52}{_short(found[name]):>8}  {between:^18}{beside:>8}")
    return [line.rstrip() for line in lines]


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
