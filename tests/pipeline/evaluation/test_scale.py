"""The scale from a control (0) to real music (1)."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.scale import (
    FigureScale,
    Measurements,
    classifier_auc,
    draw_recordings,
    scale_figure,
)


def clips(mean: float, *, spread: float = 0.01, first: str = "a", count: int = 12) -> Measurements:
    """Clips of three recordings, evenly spread around a mean."""
    values = mean + spread * np.linspace(-1, 1, count)
    return Measurements(
        values=values, recordings=tuple(f"{first}{index % 3}" for index in range(count))
    )


def scale(model: float, *, controls: dict[str, float], real: tuple[float, ...]) -> FigureScale:
    real_sets = [clips(mean, first=str(index)) for index, mean in enumerate(real)]
    return scale_figure(
        model=clips(model, first="0"),
        real=real_sets,
        controls={name: clips(mean, first="0") for name, mean in controls.items()},
        tolerance=0.02,
        draws=draw_recordings(real_sets, np.random.default_rng(0), n_draws=50),
    )


@pytest.mark.parametrize(
    ("model", "place"),
    [(0.2, 0.0), (0.5, 0.5), (0.8, 1.0), (0.9, 1.0), (1.0, 1.0), (1.6, 0.0), (-3.0, -1.0)],
)
def test_a_place_is_linear_between_the_control_and_the_range_of_real_music(
    model: float, place: float
) -> None:
    row = scale(model, controls={"noise": 0.2}, real=(0.8, 1.0))
    assert row.places["noise"].place == pytest.approx(place, abs=1e-9)
    assert row.real_range == pytest.approx((0.8, 1.0))


def test_a_control_that_is_like_real_music_is_not_used() -> None:
    row = scale(0.5, controls={"like real": 0.79, "noise": 0.2}, real=(0.8, 1.0))
    assert list(row.places) == ["noise"]
    assert row.best_control == "noise"


def test_a_control_outside_the_range_by_less_than_the_tolerance_is_not_used() -> None:
    assert scale(0.5, controls={"near": 0.785}, real=(0.8, 1.0)).places == {}
    assert scale(0.5, controls={"near": 0.785}, real=(0.8, 1.0)).best_control is None


def test_a_control_that_clips_of_real_music_overlap_is_not_used() -> None:
    wide = Measurements(values=np.linspace(0, 1, 12), recordings=tuple("aabbccddeeff"))
    row = scale_figure(
        model=clips(0.3),
        real=[wide],
        controls={"inside": clips(0.4)},
        tolerance=0.02,
    )
    assert row.places == {}


def test_the_best_control_is_the_nearest_to_real_music() -> None:
    row = scale(0.5, controls={"far": 0.0, "near": 0.4, "beyond": 1.9}, real=(0.8, 1.0))
    assert row.best_control == "near"
    assert row.places["near"].place == pytest.approx(0.25)
    assert row.places["far"].place == pytest.approx(0.625)


def test_near_zero_and_signed_figures_give_bounded_places() -> None:
    """Of pads, attack sharpness is about 0: its ratio to real music's would be anything."""
    row = scale(0.001, controls={"struck": 0.9, "reversed": -0.9}, real=(-0.003, 0.002))
    assert row.places["struck"].place == pytest.approx(1, abs=0.01)
    assert row.places["reversed"].place == pytest.approx(1, abs=0.01)


def test_the_interval_is_wide_if_recordings_differ() -> None:
    real = clips(1.0)
    model = Measurements(
        values=np.repeat([0.0, 0.5, 1.0], 4),
        recordings=("a0",) * 4 + ("a1",) * 4 + ("a2",) * 4,
    )
    draws = draw_recordings([real], np.random.default_rng(0), n_draws=200)
    row = scale_figure(
        model=model, real=[real], controls={"noise": clips(0.0)}, tolerance=0.02, draws=draws
    )
    low, high = np.quantile(row.places["noise"].draws, (0.05, 0.95))
    assert low < 0.25
    assert high > 0.75


def test_a_draw_keeps_the_number_of_recordings_of_each_set() -> None:
    sets = [clips(0, first="a"), clips(0, first="b")]
    for weights in draw_recordings(sets, np.random.default_rng(0), n_draws=20):
        assert sum(weights[f"a{index}"] for index in range(3)) == 3
        assert sum(weights[f"b{index}"] for index in range(3)) == 3


# The recording of each clip that the classifier sees.
RECORDINGS = [f"r{index // 6}" for index in range(24)]


def auc(shift: float, *, recordings: list[str] = RECORDINGS) -> float | None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(len(recordings), 5))
    clips = rng.normal(size=(len(recordings), 5)) + shift
    return classifier_auc(clips, real, clip_recordings=recordings, real_recordings=recordings)


def test_clips_of_the_same_distribution_cannot_be_told_apart() -> None:
    value = auc(0.0)
    assert value is not None
    assert 0.3 < value < 0.7


def test_clips_of_another_distribution_are_told_apart() -> None:
    value = auc(2.0)
    assert value is not None
    assert value > 0.95


def test_knowing_a_recording_again_does_not_help() -> None:
    """Each recording has its own figures, the same for clips and real music."""
    rng = np.random.default_rng(1)
    own = np.repeat(10 * rng.normal(size=(4, 5)), 6, axis=0)
    real, clips = own + rng.normal(size=(24, 5)), own + rng.normal(size=(24, 5))
    value = classifier_auc(clips, real, clip_recordings=RECORDINGS, real_recordings=RECORDINGS)
    assert value is not None
    assert value < 0.8


def test_one_recording_cannot_be_cross_fitted() -> None:
    assert auc(2.0, recordings=["only"] * 8) is None
