import collections
from typing import Any, get_args

import pytest

from audio.encode import FORMATS
from audio.errors import UsageError
from audio.settings import fields
from audio.vocoder import DEFAULT_ITERATIONS, DEFAULT_VOCODER
from generator.requests import GenerateSettings, choose_primer, derive_seed, plan_clips


def test_a_clip_is_the_same_however_many_others_there_are() -> None:
    assert plan_clips(GenerateSettings(clips=100))[:3] == plan_clips(GenerateSettings(clips=3))


def test_a_part_of_a_plan_is_a_part_of_the_plan() -> None:
    settings = GenerateSettings(clips=10)
    whole = plan_clips(settings)
    assert plan_clips(settings, first=4, count=3) == whole[4:7]
    assert plan_clips(settings, first=8, count=5) == whole[8:]


def test_names_and_seeds_are_all_different() -> None:
    plan = plan_clips(GenerateSettings(clips=2000, seed=0))
    assert len({clip.name for clip in plan}) == len({clip.seed for clip in plan}) == 2000
    assert plan[7].name == "clip-0007"


def test_seed_zero_is_a_seed() -> None:
    first, second = (plan_clips(GenerateSettings(clips=5, seed=seed)) for seed in (0, 1))
    assert not {clip.seed for clip in first} & {clip.seed for clip in second}


def test_another_attempt_has_another_seed() -> None:
    assert len({derive_seed(3, 4, attempt=attempt) for attempt in range(10)}) == 10


def test_seeds_are_the_same_in_every_process_and_version() -> None:
    assert derive_seed(7, 1) == 665643438494442457
    assert all(0 <= derive_seed(7, index) < 2**63 for index in range(100))


def test_primers_are_used_evenly() -> None:
    seeds = [derive_seed(0, index) for index in range(4000)]
    counts = collections.Counter(choose_primer(seed, 4) for seed in seeds)
    assert set(counts) == {0, 1, 2, 3}
    assert min(counts.values()) > 850


@pytest.mark.parametrize(
    ("field", "value"),
    [("clips", 0), ("seconds", 0.1), ("seed", -1), ("temperature", -0.1), ("iterations", 0)],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"generate\.{field}"):
        GenerateSettings(**{field: value})


def test_the_settings_name_the_formats_and_the_vocoder_that_there_are() -> None:
    annotation = fields(GenerateSettings)["format"].annotation
    assert get_args(annotation) == tuple(FORMATS)
    defaults = GenerateSettings()
    assert (defaults.vocoder, defaults.iterations) == (DEFAULT_VOCODER, DEFAULT_ITERATIONS)


def test_a_manifest_records_what_no_setting_changes() -> None:
    recorded = GenerateSettings(clips=3).recorded()
    assert recorded["clips"] == 3
    assert recorded["section_seconds"] == 120.0
    assert len(recorded) == 20  # 19 as in the manifests of earlier versions, and reject_warnings
