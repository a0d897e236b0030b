"""The verdict on a model: blessed, refused, or cannot be judged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from audio.errors import CannotJudgeError, NotBlessedError
from pipeline.config.sections import EvaluateSettings
from pipeline.evaluation.faults import FAULTS
from pipeline.evaluation.figure_table import FIGURES

# Increased if the meaning of a figure changes: only figures of one version are compared.
FIGURES_VERSION: Final = 3

# Name of the file with an evaluation's figures and reasons.
REPORT: Final = "evaluation.json"
# Name of the folder with an evaluation's pictures.
PICTURES: Final = "pictures"

BLESSED: Final = "blessed"
REFUSED: Final = "refused"
CANNOT_BE_JUDGED: Final = "cannot be judged"

# Least held-out music that a verdict is possible with.
MIN_RECORDINGS: Final = 3
MIN_SECONDS: Final = 120.0
# Figures that must tell each control from real music.
MIN_FIGURES: Final = 2
# A figure fails if its whole interval is below this place: the model is clearly nearer to the best
# control than to real music in it.
MIN_PLACE: Final = 0.25
# The lower end of the interval of a score must reach this share of evaluate.min_score.
_INTERVAL_SHARE: Final = 0.5
# Largest share of rollouts that may have a fault, beyond the share of real passages that have one.
_MAX_FAULTY_SHARE: Final = 0.25
# Two rollouts of one primer must differ at least by this part of the difference of two passages of
# one recording.
_MIN_DIFFERENCE: Final = 0.4
# Largest share of stretches that may be copies of training recordings, beyond the share of real
# held-out stretches that are.
_MAX_COPIED_SHARE: Final = 0.2

# What each control is, for people.
_DESCRIPTIONS: Final = {
    "noise": "noise of the same colour",
    "frozen frame": "one held sound",
    "shuffled 0.14 s blocks": "snippets of 0.14 s in random order",
    "shuffled 0.5 s blocks": "snippets of half a second in random order",
    "untrained model": "what the same network makes without training",
    "model after 6 steps": "what the same network makes after 6 training steps",
}

Check = tuple[bool, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a model is blessed, and why.

    Attributes:
      outcome: BLESSED, REFUSED or CANNOT_BE_JUDGED.
      accepted: Whether the model may be used although it cannot be judged.
      sentence: The verdict in one plain sentence, with its most important reason.
      advice: What to do next, in one plain sentence.
      reasons: One line for each check, starting with `pass` or `FAIL`.
      figures: The measured figures.
      clips: Description of each rollout.
      model_id: Id of the model.
      dataset_id: Id of the dataset that it was evaluated on.
      version: FIGURES_VERSION.
    """

    outcome: str
    accepted: bool
    sentence: str
    advice: str
    reasons: tuple[str, ...]
    figures: dict[str, Any]
    clips: tuple[dict[str, Any], ...] = ()
    model_id: str = ""
    dataset_id: str = ""
    version: int = FIGURES_VERSION

    @property
    def blessed(self) -> bool:
        """Whether the model may be used: it is blessed, or accepted unjudged."""
        return self.outcome == BLESSED or self.accepted

    def to_json(self) -> str:
        """Returns the verdict as JSON."""
        fields = {**dataclasses.asdict(self), "blessed": self.blessed}
        return json.dumps(fields, indent=2, sort_keys=True) + "\n"

    def require_blessed(self, name: str) -> None:
        """Checks that the model may be used.

        Args:
          name: What to call the model in the message.

        Raises:
          NotBlessedError: The model is refused.
          CannotJudgeError: It cannot be judged, and is not accepted unjudged.
        """
        require_blessed(dataclasses.asdict(self), name)


def require_blessed(verdict: Mapping[str, Any], name: str) -> None:
    """Does what Verdict.require_blessed does, for the content of an evaluation.json."""
    if verdict["outcome"] == BLESSED or verdict["accepted"]:
        return
    kind = NotBlessedError if verdict["outcome"] == REFUSED else CannotJudgeError
    raise kind(f"{name}: {verdict['sentence']} {verdict['advice']}")


def judge(
    figures: dict[str, Any],
    settings: EvaluateSettings,
    last_blessed: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> Verdict:
    """Decides on a model by its figures.

    Args:
      figures: Figures of next_frame_figures.py and rollout_figures.py, and held_out: the number of
        held-out recordings and their seconds.
      settings: The score that is wanted, and whether a model that cannot be judged is accepted.
      last_blessed: Content of the evaluation.json of the last blessed model.
      **attributes: Other attributes of the verdict.
    """
    obstacle = _obstacle(figures)
    checks = [] if "scores" not in figures else list(_checks(figures, settings, last_blessed))
    reasons = tuple(f"{'pass' if passed else 'FAIL'}: {text}" for passed, text in checks)
    failed = [text for passed, text in checks if not passed]
    if obstacle:
        outcome, (sentence, advice) = CANNOT_BE_JUDGED, obstacle
    elif failed:
        outcome = REFUSED
        sentence = (
            f"The model is refused: {_main_reason(figures, failed, settings.min_score)}. "
            f"{len(failed)} of {len(checks)} checks failed."
        )
        advice = (
            "Add more recordings of one kind, or train longer; docs/evaluation.md explains each "
            "check."
        )
    else:
        outcome = BLESSED
        sentence = (
            f"The model is blessed: it passed all {len(checks)} checks and is closer to real music "
            "than to every control."
        )
        advice = "You can generate with it."
    return Verdict(
        outcome=outcome,
        accepted=outcome == CANNOT_BE_JUDGED and settings.accept_unjudged,
        sentence=sentence,
        advice=advice,
        reasons=reasons,
        figures=figures,
        **attributes,
    )


def _main_reason(figures: Mapping[str, Any], failed: list[str], minimum: float) -> str:
    """Returns the most important reason of a refusal in words that need no figures, if it can."""
    scores = {name: score for name, score in figures["scores"].items() if score["figures"]}
    weakest = min(scores, key=lambda name: scores[name]["score"], default=None)
    if weakest is not None and not scores[weakest]["score"] >= minimum:
        return f"its music is not clearly nearer to real music than {_DESCRIPTIONS[weakest]}"
    return failed[0]


def is_enough(held_out: Mapping[str, Any]) -> bool:
    """Returns whether there is enough held-out music to judge a model by."""
    return bool(held_out["recordings"] >= MIN_RECORDINGS and held_out["seconds"] >= MIN_SECONDS)


def _obstacle(figures: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns why a model cannot be judged, and what to do; None if it can."""
    held_out = figures["held_out"]
    if not is_enough(held_out):
        return (
            f"The model cannot be judged: {held_out['recordings']} held-out recordings with "
            f"{held_out['seconds']:.0f} s in all are too few, at least {MIN_RECORDINGS} with "
            f"{MIN_SECONDS:.0f} s are needed.",
            "Add recordings, or prepare again with a larger prepare.eval_share; "
            "--accept-unjudged uses the model all the same.",
        )
    if "scores" not in figures:
        return (
            "The model cannot be judged: no held-out recording is as long as a training window.",
            "Add longer recordings, or lower train.window_frames.",
        )
    untold = [
        name for name, score in figures["scores"].items() if len(score["figures"]) < MIN_FIGURES
    ]
    if untold:
        return (
            f"The model cannot be judged: on this collection, fewer than {MIN_FIGURES} figures "
            f"tell real music from this control: {', '.join(untold)}.",
            "Add more recordings, or hold out more of them with prepare.eval_share.",
        )
    return None


def _checks(
    figures: Mapping[str, Any],
    settings: EvaluateSettings,
    last_blessed: Mapping[str, Any] | None,
) -> Iterator[Check]:
    """Yields whether each check passes, and what it says."""
    minimum = settings.min_score
    for name, score in figures["scores"].items():
        if score["score"] is None:
            continue
        low, high = score["interval"]
        yield (
            score["score"] >= minimum and low >= min(minimum, _INTERVAL_SHARE * minimum),
            f"between {name} (0) and real music (1) the model is at {score['score']:.2f} "
            f"({low:.2f} to {high:.2f}; minimum {minimum:g})",
        )
    failed = [FIGURES[name].title for name, row in figures["scale"].items() if fails(row)]
    n_used = sum(row["place"] is not None for row in figures["scale"].values())
    yield (
        not failed,
        f"{len(failed)} of {n_used} figures are clearly nearer to a control than to real music"
        + (f": {', '.join(failed)}" if failed else ""),
    )
    if figures["mse_ratio"] is not None:
        ratio = figures["mse_ratio"]
        yield (
            ratio < 1,
            f"its error in predicting the next frame is {ratio:.2f} times that of repeating the "
            "last frame (must be below 1)",
        )
    if figures["nll"] is not None and figures.get("untrained_nll") is not None:
        yield (
            figures["nll"] < figures["untrained_nll"],
            f"its negative log-likelihood of held-out music is {figures['nll']:.2f} nats a frame; "
            f"that of the same network without training is {figures['untrained_nll']:.2f} (must be "
            "lower)",
        )
    share, real = figures["faulty_share"], figures["real_faulty_share"]
    shares = {fault: figures[f"{fault}_share"] for fault in FAULTS}
    faults = ", ".join(f"{shares[fault]:.0%} {fault}" for fault in FAULTS if shares[fault])
    yield (
        share <= real + _MAX_FAULTY_SHARE,
        f"{share:.0%} of {figures['rollouts']} rollouts have a fault ({faults or 'none'}; maximum "
        f"{real + _MAX_FAULTY_SHARE:.0%})",
    )
    least = _MIN_DIFFERENCE * figures["real_difference"]
    yield (
        figures["difference"] >= least,
        f"two rollouts of one primer differ by {figures['difference']:.1f} (minimum {least:.1f}, "
        f"which is {_MIN_DIFFERENCE:g} of the difference of two passages of one recording)",
    )
    if figures["copied_share"] is not None:
        maximum = figures["real_copied_share"] + _MAX_COPIED_SHARE
        yield (
            figures["copied_share"] <= maximum,
            f"{figures['copied_share']:.0%} of the stretches are copies of training recordings "
            f"(maximum {maximum:.0%}); the longest follows one recording for "
            f"{figures['longest_copy_seconds']:.1f} s",
        )
    if last_blessed is not None:
        yield from _compare(figures, last_blessed)


def fails(row: Mapping[str, Any]) -> bool:
    """Returns whether a figure fails; one that tells no control from real music does not."""
    return row["interval"] is not None and not row["interval"][1] >= MIN_PLACE


def _compare(figures: Mapping[str, Any], last_blessed: Mapping[str, Any]) -> Iterator[Check]:
    """Yields the check against the last blessed model: its lowest score is not clearly better."""
    old_scores = last_blessed["figures"].get("scores")
    if last_blessed.get("version") != FIGURES_VERSION or not old_scores:
        yield True, "the last blessed model has figures of another version: not compared"
        return
    own, old = (_lowest(scores) for scores in (figures["scores"], old_scores))
    if own is None or old is None:
        return
    yield (
        own["interval"][1] >= old["interval"][0],
        f"its lowest score is {own['score']:.2f}; the last blessed model, "
        f"{last_blessed['model_id']}, had {old['score']:.2f} (must not be clearly worse)",
    )


def _lowest(scores: Mapping[str, Any]) -> Mapping[str, Any] | None:
    known = [score for score in scores.values() if score["score"] is not None]
    return min(known, key=lambda score: score["score"]) if known else None


def format_table(verdict: Verdict) -> list[str]:
    """Returns the figures as lines of text: real music, model, best control, and the place."""
    figures = verdict.figures
    if "scale" not in figures:
        return []
    lines = [
        f"{'figure':<42}{'real':>8}{'model':>8}{'control':>9}  {'best control':<24}{'place':>6}  "
        "result"
    ]
    for name, row in figures["scale"].items():
        unit = f", {FIGURES[name].unit}" if FIGURES[name].unit else ""
        text = f"{FIGURES[name].title}{unit}"
        if row["best_control"] is None:
            control = f"{'':>9}  tells no control from real music"
        else:
            best = row["best_control"]
            result = "FAIL" if fails(row) else "pass"
            control = f"{row['controls'][best]:>9.2f}  {best:<24}{row['place']:>6.2f}  {result}"
        lines.append(f"{text:<42}{row['real']:>8.2f}{row['model']:>8.2f}{control}")
    classifier = figures["classifier"]
    if classifier["model"] is not None:
        text = "told from real music by a classifier, AUC"
        lines.append(f"{text:<42}{classifier['real']:>8.2f}{classifier['model']:>8.2f}")
    lines.append("")
    lines.append(f"{'control':<42}{'score':>8}  {'90% interval':<16}figures that tell it")
    for name, score in figures["scores"].items():
        if score["score"] is None:
            lines.append(f"{name:<42}{'':>8}  {'':<16}none")
            continue
        low, high = score["interval"]
        interval = f"{low:.2f} to {high:.2f}"
        lines.append(f"{name:<42}{score['score']:>8.2f}  {interval:<16}{len(score['figures'])}")
    return [line.rstrip() for line in lines]
