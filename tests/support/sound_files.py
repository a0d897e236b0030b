"""Sound files in every format, written to a file or to a pipe, and FFmpeg's account of a file.

FFmpeg is that of the package av, which the environment for development has.
"""

from __future__ import annotations

import io
import zlib
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile

from tests.support import signals

RATE = 48000
Float32 = npt.NDArray[np.float32]
# Names of what libsndfile writes: container and subtype.
SNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "wav8": ("WAV", "PCM_U8"),
    "wav24": ("WAV", "PCM_24"),
    "wavfloat": ("WAV", "FLOAT"),
    "mulaw": ("WAV", "ULAW"),
    "adpcm": ("WAV", "IMA_ADPCM"),
    "wavex": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "aifc": ("AIFF", "FLOAT"),
    "svx": ("SVX", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "alac": ("CAF", "ALAC_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
# Names of what FFmpeg writes: format, codec and options.
FFMPEG: dict[str, tuple[str, str, dict[str, str]]] = {
    "m4a": ("ipod", "aac", {}),
    "fragments": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    "aac": ("adts", "aac", {}),
    "mp2": ("mp2", "mp2", {}),
    "oggflac": ("ogg", "flac", {}),
    "mka": ("matroska", "flac", {}),
    "webm": ("webm", "libopus", {}),
    "wv": ("wv", "wavpack", {}),
    "tta": ("tta", "tta", {}),
    "ac3": ("ac3", "ac3", {}),
}


class _Pipe(io.RawIOBase):
    """A file that can only be written from its start to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, content: Any) -> int:
        self.content += bytes(content)
        return len(content)


def tune(seconds: float, *, rate: int = RATE, seed: int = 0) -> Float32:
    return signals.tune(seconds=seconds, rate=rate, seed=seed)


def sndfile(kind: str, samples: Float32, rate: int = RATE) -> bytes:
    """Returns a file of a kind in SNDFILE."""
    container, subtype = SNDFILE[kind]
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def ffmpeg(
    samples: Float32,
    *,
    container: str,
    codec: str,
    rate: int = RATE,
    pipe: bool = False,
    options: dict[str, str] | None = None,
    bit_rate: int | None = 128_000,
    quality: int | None = None,
) -> bytes:
    """Returns mono or stereo samples as FFmpeg encodes them.

    Args:
      samples: float32 [n] or [n, 2].
      container: Name of the format.
      codec: Name of the encoder.
      rate: Sample rate, Hz.
      pipe: Whether it is written without seeking back.
      options: Options of the format.
      bit_rate: Bits per second.
      quality: Quality of a variable bit rate, instead of bit_rate.
    """
    target = _Pipe() if pipe else io.BytesIO()
    columns = samples[:, None] if samples.ndim == 1 else samples
    layout = "mono" if columns.shape[1] == 1 else "stereo"
    with av.open(target, "w", format=container, options=options or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout=layout)
        if quality is not None:
            stream.codec_context.flags |= 2  # AV_CODEC_FLAG_QSCALE
            stream.codec_context.global_quality = quality * 118
        elif bit_rate:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(columns.T), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return bytes(target.content) if isinstance(target, _Pipe) else target.getvalue()


_made: dict[tuple[str, int, int, bool], bytes] = {}


def make(kind: str, samples: Float32, *, rate: int = RATE, pipe: bool = False) -> bytes:
    """Returns a file of a kind in SNDFILE or FFMPEG. It is encoded once in a process."""
    key = (kind, zlib.crc32(samples.tobytes()), rate, pipe)
    if key not in _made:
        _made[key] = _encode(kind, samples, rate=rate, pipe=pipe)
    return _made[key]


def _encode(kind: str, samples: Float32, *, rate: int, pipe: bool) -> bytes:
    if kind in SNDFILE:
        return sndfile(kind, samples, rate)
    container, codec, options = FFMPEG[kind]
    lossless = codec in ("flac", "wavpack", "tta")
    return ffmpeg(
        samples,
        container=container,
        codec=codec,
        rate=rate,
        pipe=pipe,
        options=options,
        bit_rate=None if lossless else 128_000,
    )


def ffmpeg_length(content: bytes) -> tuple[int, int]:
    """Returns how many samples FFmpeg decodes of a file, without damaged packets, and their rate.

    Samples of another rate count as if they were resampled to the first one.
    """
    n_samples, rate = 0.0, 0
    try:
        with av.open(io.BytesIO(content)) as container:
            packets = container.demux(audio=0)
            while True:
                try:
                    frames = next(packets).decode()
                except StopIteration:
                    break
                except av.InvalidDataError:
                    continue
                for frame in frames:
                    rate = rate or frame.sample_rate
                    n_samples += frame.samples * rate / frame.sample_rate
    except (av.FFmpegError, IndexError, ValueError):
        pass
    return round(n_samples), rate or 1


def ffmpeg_seconds(content: bytes) -> float:
    """Returns the length of a file as FFmpeg decodes it, seconds."""
    n_samples, rate = ffmpeg_length(content)
    return n_samples / rate
