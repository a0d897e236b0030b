import hashlib

import numpy as np
import soundfile

from pipeline.demo.corpus import SAMPLE_RATE, render_corpus


def test_the_same_seed_gives_the_same_bytes(tmp_path) -> None:
    first = render_corpus(tmp_path / "a", pieces=2, bars=4)
    second = render_corpus(tmp_path / "b", pieces=2, bars=4)
    other = render_corpus(tmp_path / "c", pieces=2, bars=4, seed=1)
    digests = [
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
        for paths in (first, second, other)
    ]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_pieces_are_music_and_not_silence(tmp_path) -> None:
    for path in render_corpus(tmp_path, pieces=4, bars=4):
        samples, rate = soundfile.read(path)
        assert rate == SAMPLE_RATE
        assert samples.shape[1] == 2
        assert len(samples) > 6 * rate
        assert 0.1 < np.abs(samples).max() < 1.0
        # Polyphony: more than one strong partial at once, in the middle.
        spectrum = np.abs(np.fft.rfft(samples[3 * rate : 4 * rate, 0] * np.hanning(rate)))
        assert (spectrum > spectrum.max() / 8).sum() > 8


def test_what_exists_is_left_as_it_is(tmp_path) -> None:
    first = render_corpus(tmp_path, pieces=1, bars=2)[0]
    first.write_bytes(b"mine")
    render_corpus(tmp_path, pieces=2, bars=2)
    assert first.read_bytes() == b"mine"
