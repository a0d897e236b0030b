"""Log-mel -> samples: mel-consistent fast Griffin-Lim, and a place for other ways.

The usual way inverts the mel filters once, by least squares, and then only looks for phases. Here
magnitudes stay free: each round takes the STFT of the current signal, sees what its mel power is,
and scales its own magnitudes by the smooth ratio of the wanted mel power to that. Detail between
the filters is then settled by consistency instead of by a guess (figures: benchmarks/README.md).
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
# Packages add vocoders under this group of entry points.
PLUGINS = "nocturne.vocoders"
# Long clips are made in stretches of 24 s at the default hop, each begun with the end of the last.
_STRETCH, _OVERLAP = 1024, 16


class Vocoder(Protocol):
    """What makes samples of log-mel.

    Attributes:
      fingerprint: of the only front end that it was made for (AudioConfig.fingerprint); empty for
        one that takes any.
    """

    fingerprint: str

    def __call__(
        self, log_mel: Float32, config: AudioConfig, *, rng: np.random.Generator, iterations: int
    ) -> Float32:
        """Returns float32 [(n_frames - 1) * hop_length] for natural-log mel [n_frames, n_mels]."""


@runtime_checkable
class StreamingVocoder(Vocoder, Protocol):
    """A vocoder that also takes frames in pieces, for clips of any length: see vocode_pieces."""

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
      log_mel: natural log [n_frames, n_mels], from the front end `config`.
      config: the front end.
      rng: where the first phases come from; the same state gives the same samples.
      iterations: rounds; 12 are quick, 32 are good.

    Returns:
      float32 [(n_frames - 1) * hop_length]; not limited to [-1, 1].

    Raises:
      AudioError: log_mel is not [n_frames >= 2, n_mels], or not finite.
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

    Memory does not grow with their number, and where pieces begin leaves no trace.

    Raises:
      AudioError: as for vocode.
    """
    hop = config.hop_length
    # A stretch ends a hop early; of what overlaps, the first half is near its edge.
    late = _OVERLAP // 2 * hop
    fade = np.zeros((_OVERLAP - 1) * hop, np.float32)
    fade[late:] = np.linspace(0, 1, len(fade) - late)
    before = np.zeros(0, np.float32)
    for target, is_last in _stretches(frames, config):
        noise = rng.standard_normal(len(target) * hop, np.float32)
        # Phases go on where those of the last stretch end.
        noise[: len(before)] = before
        samples = griffin_lim(target, noise, config, iterations=iterations)
        if len(before):
            samples[: len(fade)] = before + fade * (samples[: len(fade)] - before)
        before = samples[-len(fade) :]
        yield samples if is_last else samples[: -len(fade)]


def _stretches(
    frames: Iterable[npt.NDArray[np.floating]], config: AudioConfig
) -> Iterator[tuple[Float32, bool]]:
    """Yields mel power in stretches that overlap, and whether each is the last.

    All but the last have their full length; the last one has more than the overlap.
    """
    waiting = np.empty((0, config.n_mels), np.float32)
    for piece in frames:
        waiting = np.concatenate([waiting, _power(piece, config)])
        while len(waiting) > _STRETCH + _OVERLAP:
            yield waiting[: _STRETCH + _OVERLAP], False
            waiting = waiting[_STRETCH:]
    if len(waiting) < 2:
        raise AudioError(f"wanted log-mel [2 or more frames, {config.n_mels}], got {len(waiting)}")
    yield waiting, True


def _power(log_mel: npt.NDArray[np.floating], config: AudioConfig) -> Float32:
    if log_mel.ndim != 2 or log_mel.shape[1] != config.n_mels:
        raise AudioError(f"wanted log-mel [2 or more frames, {config.n_mels}], got {log_mel.shape}")
    if not np.isfinite(log_mel).all():
        raise AudioError("wanted finite log-mel, got NaN or infinity")
    # A model that diverged may ask for e^100; nothing above e^30 is sound.
    power: Float32 = np.exp(np.clip(log_mel, config.log_mel_floor, 30).astype(np.float32))
    return power


class _GriffinLim:
    fingerprint = ""
    __call__ = staticmethod(vocode)
    pieces = staticmethod(vocode_pieces)


class _Librosa:
    """Least squares back to bins, then fast Griffin-Lim: the field's reference."""

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
    """Returns the vocoder of a name: `griffin-lim`, `librosa`, or one that a package adds.

    Raises:
      UsageError: there is none of that name.
      ConfigMismatchError: it was made for another front end than `config`.
    """
    makers: dict[str, Callable[[], Vocoder]] = {
        DEFAULT_VOCODER: _GriffinLim,
        "librosa": _Librosa,
    }
    if name in makers:
        vocoder: Vocoder = makers[name]()
    else:
        plugins = {entry.name: entry for entry in importlib.metadata.entry_points(group=PLUGINS)}
        if name not in plugins:
            known = ", ".join(sorted({*makers, *plugins}))
            raise UsageError(f"generate.vocoder: no {name!r}; there are {known}")
        vocoder = plugins[name].load()()
    if vocoder.fingerprint not in ("", config.fingerprint):
        raise ConfigMismatchError(
            f"vocoder {name} was made for front end {vocoder.fingerprint}, the model's is "
            f"{config.fingerprint}. Choose another, or prepare and train with its front end."
        )
    return vocoder
