"""A small corpus for the demo: polyphonic pieces that are composed here and played by a soundfont.

Each piece has a style (tempo, instruments), a chord progression in a key, and a melody that is a
random walk over the chords. The same seed gives the same bytes. The soundfont is part of the
pretty_midi package (TimGM6mb, GPL-2); Nocturne itself contains no audio.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import soundfile

from storage import files

SAMPLE_RATE = 44100
# General MIDI: the channel of the drums, and the keys of three drums on it.
_DRUMS = 9
_KICK = 36
_SNARE = 38
_HAT = 42
# Semitones of the degrees of a scale above its tonic.
_MINOR = (0, 2, 3, 5, 7, 8, 10)
_MAJOR = (0, 2, 4, 5, 7, 9, 11)
# Roots of the chords, one per bar, as degrees of the scale.
_PROGRESSIONS = ((0, 5, 3, 4), (0, 3, 4, 3), (0, 5, 2, 6), (0, 4, 5, 3), (0, 2, 3, 4))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """What pieces of one kind share. Instruments are General MIDI programs."""

    name: str
    beats_per_minute: int
    pad: int
    bass: int
    lead: int
    drums: bool
    scale: tuple[int, ...]


_STYLES = (
    Style(name="nocturne", beats_per_minute=72, pad=0, bass=0, lead=73, drums=False, scale=_MINOR),
    Style(name="chase", beats_per_minute=132, pad=48, bass=33, lead=56, drums=True, scale=_MINOR),
    Style(name="march", beats_per_minute=104, pad=61, bass=58, lead=60, drums=True, scale=_MAJOR),
    Style(name="organ", beats_per_minute=84, pad=19, bass=43, lead=68, drums=False, scale=_MAJOR),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Note:
    """One note. Start and length are in beats, the key is a MIDI key."""

    start: float
    beats: float
    channel: int
    key: int
    velocity: int


def render_corpus(
    folder: pathlib.Path,
    *,
    pieces: int = 16,
    bars: int = 16,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[pathlib.Path]:
    """Writes pieces as 16-bit stereo FLAC files. Files that exist already are not touched.

    Args:
      folder: Folder for the files.
      pieces: Number of pieces.
      bars: Number of bars in each piece, of four beats.
      seed: Seed of the corpus.
      progress: Called with the number of pieces that are done and the number of all pieces.

    Returns:
      The paths of all pieces, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(pieces):
        style = _STYLES[index % len(_STYLES)]
        path = folder / f"{index:02d}-{style.name}.flac"
        paths.append(path)
        if not path.exists():
            notes = compose(style, bars=bars, rng=np.random.default_rng([seed, index]))
            samples = perform(notes, style)
            with files.atomic_file(str(path)) as file:
                soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        if progress:
            progress(index + 1, pieces)
    return paths


def compose(style: Style, *, bars: int, rng: np.random.Generator) -> list[Note]:
    """Returns the notes of one piece, sorted by their start."""
    tonic = 48 + int(rng.integers(0, 12))
    progression = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
    # A rhythm that repeats every two bars makes it sound like a tune.
    motif = [float(beats) for beats in rng.choice((0.5, 1.0, 1.0, 1.5), size=16)]
    notes: list[Note] = []
    degree = 7
    for bar in range(bars):
        chord = [progression[bar % len(progression)] + step for step in (0, 2, 4)]
        keys = [_key(tonic, style.scale, step) for step in chord]
        bar_start = 4.0 * bar
        notes += [Note(start=bar_start, beats=3.9, channel=0, key=key, velocity=62) for key in keys]
        notes += _bass(bar_start, keys[0] - 12, rng)
        if style.drums:
            notes += _drums(bar_start)
        beat, cell = 0.0, bar % 2 * 8
        while beat < 4 and bar >= 2:
            beats = min(motif[cell % len(motif)], 4 - beat)
            degree = int(np.clip(degree + rng.integers(-2, 3), 4, 14))
            if beat == 0:
                degree = min((7 + step for step in chord), key=lambda step: abs(step - degree))
            key = _key(tonic, style.scale, degree)
            start = bar_start + beat
            notes.append(Note(start=start, beats=beats * 0.95, channel=2, key=key, velocity=88))
            beat, cell = beat + beats, cell + 1
    return sorted(notes, key=lambda note: (note.start, note.channel, note.key))


def _bass(start: float, key: int, rng: np.random.Generator) -> Iterator[Note]:
    for beat in range(4):
        fifth = 7 if beat == 3 and rng.random() < 0.5 else 0
        yield Note(start=start + beat, beats=0.9, channel=1, key=key + fifth, velocity=80)


def _drums(start: float) -> Iterator[Note]:
    hits = [(_KICK, 0.0), (_KICK, 2.0), (_SNARE, 1.0), (_SNARE, 3.0)]
    hits += [(_HAT, eighth / 2) for eighth in range(8)]
    for key, beat in hits:
        yield Note(start=start + beat, beats=0.4, channel=_DRUMS, key=key, velocity=74)


def _key(tonic: int, scale: tuple[int, ...], degree: int) -> int:
    octave, step = divmod(degree, len(scale))
    return tonic + 12 * octave + scale[step]


def perform(notes: list[Note], style: Style) -> npt.NDArray[np.float32]:
    """Plays notes with the soundfont; returns float32 [n_samples, 2] at SAMPLE_RATE."""
    import tinysoundfont

    synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE, gain=-6)
    font = synth.sfload(str(_soundfont()))
    for channel, program in enumerate((style.pad, style.bass, style.lead)):
        synth.program_select(channel, font, 0, program)
    synth.program_select(_DRUMS, font, 128, 0)
    samples_per_beat = 60 / style.beats_per_minute * SAMPLE_RATE
    events = [(round(note.start * samples_per_beat), 1, note) for note in notes]
    events += [(round((note.start + note.beats) * samples_per_beat), 0, note) for note in notes]
    pieces, position = [], 0
    for sample, is_start, note in sorted(events, key=lambda event: event[:2]):
        if sample > position:
            pieces.append(_render(synth, sample - position))
            position = sample
        if is_start:
            synth.noteon(note.channel, note.key, note.velocity)
        else:
            synth.noteoff(note.channel, note.key)
    pieces.append(_render(synth, SAMPLE_RATE))  # the last notes ring out
    return np.clip(np.concatenate(pieces), -1, 1)


def _render(synth: object, n_samples: int) -> npt.NDArray[np.float32]:
    buffer = synth.generate(n_samples)  # type: ignore[attr-defined]
    return np.frombuffer(bytes(buffer), np.float32).reshape(-1, 2).copy()


def _soundfont() -> pathlib.Path:
    spec = importlib.util.find_spec("pretty_midi")
    assert spec is not None
    assert spec.origin is not None
    return pathlib.Path(spec.origin).with_name("TimGM6mb.sf2")
