"""The JSON and the arrays of an exported model, which are checked before anything uses them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zipfile
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import numpy as np
import numpy.typing as npt
import pydantic

from audio import contract
from audio.config import AudioConfig
from audio.errors import ConfigMismatchError, IncompleteError, UsageError
from storage import faults, files

_Id = Annotated[str, pydantic.Field(pattern="^[0-9a-f]{12}$")]
# Text that may contain bytes of file names that are not UTF-8, which pydantic's str refuses.
_Text = pydantic.InstanceOf[str]
# What libraries raise while they read damaged JSON and arrays.
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile),
    *(RecursionError, MemoryError, UsageError),
)


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, allow_inf_nan=False)


class _Dataset(_Part):
    path: _Text
    dataset_id: _Id


class _Training(_Part):
    primer_frames: int = pydantic.Field(ge=2)
    window_frames: int = pydantic.Field(ge=2)


class _Info(_Part):
    """What Nocturne reads of model_info.json. It contains more, for people."""

    model_id: _Id
    fingerprint: _Id
    audio: dict[str, Any]
    train: _Training
    dataset: _Dataset
    anchor_frames: int = pydantic.Field(default=0, ge=0)
    natural_temperature: float = pydantic.Field(ge=0)
    tonality: dict[str, float] = {}


class _PrimerSource(_Part):
    recording_id: str = pydantic.Field(pattern="^[0-9a-f]{64}$")
    first_frame: int = pydantic.Field(ge=0)
    uri: _Text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Primers:
    """The primers that a model comes with.

    Attributes:
      log_mel: Natural-log mel, float32 [n_primers, n_frames, n_mels].
      sources: Source of each primer, as JSON: recording_id, first_frame and uri.
    """

    log_mel: npt.NDArray[np.float32]
    sources: tuple[str, ...]


def read_model_info(path: str) -> tuple[dict[str, Any], AudioConfig]:
    """Returns the content of a model's model_info.json, and its front end.

    Raises:
      IncompleteError: The file is damaged.
      ConfigMismatchError: Its fingerprint is not that of its front end.
    """
    with explain_damage(path, contract.MODEL_INFO):
        text = files.read_text(f"{path}/{contract.MODEL_INFO}")
        info: dict[str, Any] = json.loads(text, parse_constant=_refuse_constant)
        _Info.model_validate(info)
        audio = AudioConfig(**info["audio"])
    if info["fingerprint"] != audio.fingerprint:
        raise ConfigMismatchError(
            f"{path}: its {contract.MODEL_INFO} names front end {info['fingerprint']}, but "
            f"describes {audio.fingerprint}. It was changed, or is of another version. Train again."
        )
    return info, audio


def read_primers(path: str, info: dict[str, Any], audio: AudioConfig) -> Primers:
    """Returns the primers of a model.

    Raises:
      IncompleteError: The file is damaged, or belongs to another model.
    """
    with explain_damage(path, contract.PRIMERS):
        with files.open_local(f"{path}/{contract.PRIMERS}") as file:
            arrays = dict(np.load(file, allow_pickle=False))
        log_mel, sources = arrays["log_mel"], arrays["source"]
        shape = (len(sources), info["train"]["primer_frames"], audio.n_mels)
        if log_mel.dtype.kind != "f" or log_mel.shape != shape or not len(sources):
            raise ValueError(
                "wanted log_mel of numbers with as many primers as sources, frames as "
                f"train.primer_frames and bands as the front end, {shape}; got {log_mel.dtype} "
                f"{log_mel.shape}"
            )
        log_mel = log_mel.astype(np.float32)
        if not np.isfinite(log_mel).all():
            raise ValueError("wanted log_mel of finite numbers")
        texts = tuple(str(source) for source in sources)
        for text in texts:
            _PrimerSource.model_validate(json.loads(text))
    return Primers(log_mel=log_mel, sources=texts)


@contextlib.contextmanager
def explain_damage(path: str, part: str, *others: type[Exception]) -> Iterator[None]:
    """Turns any library's error while it reads a part of a model into one of ours.

    Args:
      path: The model.
      part: The part's name.
      *others: Further types of errors that mean damage.

    Raises:
      IncompleteError: The block failed.
      UnwritableError, MachineError: It failed by a fault of the system.
    """
    try:
        yield
    except (*_DAMAGE, *others) as error:
        fault = faults.find_fault(error)
        if fault is not None:
            raise fault from error
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
        if isinstance(error, pydantic.ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise IncompleteError(
            f"{path}: {part} is damaged, or belongs to another model ({reason}). Copy the model "
            "again from an intact one, or train again."
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"wanted finite numbers, got {name}")
