"""Vocoders, which turn log-mel into samples: mel-consistent fast Griffin-Lim, and others.

The usual method inverts the mel filters once, by least squares, and then only searches for phases.
Here magnitudes are free, too: each iteration takes the STFT of the current signal, and scales its
magnitudes by the smooth ratio of the target mel power to the signal's own. The fine structure
within a filter then follows from the consistency of overlapping frames, not from a guess (figures:
benchmarks/README.md).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.errors import AudioError, ConfigMismatchError, UsageError
from audio.griffin_lim import griffin_lim

Float32 = npt.NDArray[np.float32]

DEFAULT_ITERATIONS = 20
DEFAULT_VOCODER = "griffin-lim"
# Group of entry points under which other packages add vocoders.
PLUGIN_GROUP = "nocturne.vocoders"
# Long clips are made in segments. Each has this many frames (24 s at the default hop length) ...
_SEGMENT_FRAMES = 1024
# ... and these more, which it shares with the next segment, for a crossfade.
_OVERLAP_FRAMES = 16


class Vocoder(Protocol):
    """Turns log-mel into samples.

    Attributes:
      fingerprint: Fingerprint of the only front end that it supports (AudioConfig.fingerprint);
        empty if it supports any.
    """

    fingerprint: str

    def __call__(
        self, log_mel: Float32, config: AudioConfig, *, rng: np.random.Generator, iterations: int
    ) -> Float32:
        """Returns float32 [(n_frames - 1) * hop_length] for natural-log mel [n_frames, n_mels]."""


@runtime_checkable
class StreamingVocoder(Vocoder, Protocol):
    """A vocoder that also accepts frames in pieces, for clips of any length: see vocode_pieces."""

    def pieces(
        self,
        frames: Iterable[Float32],
        config: AudioConfig,
        *,
        rng: np.random.Generator,
        iterations: int,
    ) -> Iterator[Float32]:
        """Yields samples, float32 [n] each, for natural-log mel [n_frames, n_mels] in pieces."""


def vocode(
    log_mel: npt.ArrayLike,
    config: AudioConfig,
    *,
    rng: np.random.Generator,
    iterations: int = DEFAULT_ITERATIONS,
) -> Float32:
    """Returns samples whose log-mel is close to the given one.

    Args:
      log_mel: Natural-log mel [n_frames, n_mels].
      config: The front end of the frames.
      rng: Source of the first phases; the same state gives the same samples.
      iterations: Number of iterations; 12 are fast, 32 sound best.

    Returns:
      float32 [(n_frames - 1) * hop_length]; not limited to [-1, 1].

    Raises:
      AudioError: log_mel is not [n_frames >= 2, n_mels], or is not finite.
    """
    pieces = vocode_pieces([np.asarray(log_mel)], config, rng=rng, iterations=iterations)
    return np.concatenate(list(pieces))


def vocode_pieces(
    frames: Iterable[npt.NDArray[np.floating]],
    config: AudioConfig,
    *,
    rng: np.random.Generator,
    iterations: int = DEFAULT_ITERATIONS,
) -> Iterator[Float32]:
    """Yields the samples of `vocode` in pieces, for frames that arrive in pieces.

    Memory does not grow with the number of pieces, and the samples do not depend on where they end.

    Args:
      frames: Consecutive natural-log mel frames, [n_frames, n_mels] each.
      config: The front end of the frames.
      rng: See vocode.
      iterations: See vocode.

    Raises:
      AudioError: See vocode.
    """
    hop = config.hop_length
    # n frames give n - 1 hops of samples. In the first half of the overlap only the samples of the
    # previous segment are used, because a segment is least exact at its edge.
    fade = np.zeros((_OVERLAP_FRAMES - 1) * hop, np.float32)
    start = _OVERLAP_FRAMES // 2 * hop
    fade[start:] = np.linspace(0, 1, len(fade) - start)
    overlap = np.zeros(0, np.float32)
    for target, is_last in _segments(frames, config):
        noise = rng.standard_normal(len(target) * hop, np.float32)
        # The first phases continue those of the previous segment.
        noise[: len(overlap)] = overlap
        samples = griffin_lim(target, noise, config, iterations=iterations)
        if len(overlap):
            samples[: len(fade)] = overlap + fade * (samples[: len(fade)] - overlap)
        overlap = samples[-len(fade) :]
        yield samples if is_last else samples[: -len(fade)]


def _segments(
    frames: Iterable[npt.NDArray[np.floating]], config: AudioConfig
) -> Iterator[tuple[Float32, bool]]:
    """Yields mel power in overlapping segments, and whether each is the last one.

    All but the last have the full length. The last is longer than the overlap, unless it is the
    only one.
    """
    waiting = np.empty((0, config.n_mels), np.float32)
    for piece in frames:
        waiting = np.concatenate([waiting, _power(piece, config)])
        while len(waiting) > _SEGMENT_FRAMES + _OVERLAP_FRAMES:
            yield waiting[: _SEGMENT_FRAMES + _OVERLAP_FRAMES], False
            waiting = waiting[_SEGMENT_FRAMES:]
    if len(waiting) < 2:
        raise AudioError(f"wanted log-mel [2 or more frames, {config.n_mels}], got {len(waiting)}")
    yield waiting, True


def _power(log_mel: npt.NDArray[np.floating], config: AudioConfig) -> Float32:
    if log_mel.ndim != 2 or log_mel.shape[1] != config.n_mels:
        raise AudioError(f"wanted log-mel [2 or more frames, {config.n_mels}], got {log_mel.shape}")
    if not np.isfinite(log_mel).all():
        raise AudioError("wanted finite log-mel, got NaN or infinity")
    # The output of a diverged model may be e^100; no sound has more than e^30.
    power: Float32 = np.exp(np.clip(log_mel, config.log_mel_floor, 30).astype(np.float32))
    return power


class _GriffinLim:
    fingerprint = ""
    __call__ = staticmethod(vocode)
    pieces = staticmethod(vocode_pieces)


class _Librosa:
    """librosa's inversion by least squares, then fast Griffin-Lim: the usual reference."""

    fingerprint = ""

    def __call__(
        self, log_mel: Float32, config: AudioConfig, *, rng: np.random.Generator, iterations: int
    ) -> Float32:
        import librosa

        magnitude = librosa.feature.inverse.mel_to_stft(
            _power(log_mel, config).T,
            sr=config.sample_rate,
            n_fft=config.n_fft,
            fmin=config.fmin,
            fmax=config.upper_edge,
        )
        samples: Float32 = librosa.griffinlim(
            magnitude,
            n_iter=iterations,
            hop_length=config.hop_length,
            length=(len(log_mel) - 1) * config.hop_length,
            random_state=int(rng.integers(2**31)),
        )
        return samples


def find_vocoder(name: str, config: AudioConfig) -> Vocoder:
    """Returns a vocoder by its name: `griffin-lim`, `librosa`, or one that a package adds.

    Raises:
      UsageError: There is no vocoder of that name.
      ConfigMismatchError: The vocoder does not support the front end `config`.
    """
    makers: dict[str, Callable[[], Vocoder]] = {
        DEFAULT_VOCODER: _GriffinLim,
        "librosa": _Librosa,
    }
    if name in makers:
        vocoder: Vocoder = makers[name]()
    else:
        plugins = {
            entry.name: entry for entry in importlib.metadata.entry_points(group=PLUGIN_GROUP)
        }
        if name not in plugins:
            known = ", ".join(sorted({*makers, *plugins}))
            raise UsageError(f"generate.vocoder: no {name!r}; there are {known}")
        vocoder = plugins[name].load()()
    if vocoder.fingerprint not in ("", config.fingerprint):
        raise ConfigMismatchError(
            f"vocoder {name} was made for front end {vocoder.fingerprint}, the model's is "
            f"{config.fingerprint}. Choose another vocoder, or prepare and train with its front "
            "end."
        )
    return vocoder
