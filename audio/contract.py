"""Names that other programs see: features, splits, files and signatures.

DATASET/                      MODEL/ (a SavedModel)         OUTPUT/ (generated clips)
  Split-train/*.tfrecord        saved_model.pb, variables/    clip-0000.wav ...
  Split-eval/*.tfrecord         assets.extra/model_info.json  effective_config.yaml
  recordings.jsonl              assets.extra/history.json     manifest.json
  rejected/rejected.jsonl                                     COMPLETED   (last)
  dataset_info.json             assets.extra/primers.npz
  data_card.json
  effective_config.yaml
  COMPLETED   (last)
"""

from typing import Final

# Version of the files below. It is raised if readers of the old format would misread the new one.
FORMAT_VERSION: Final = 3

# Splits. TFX reads the examples of a split from a folder named Split-<name>.
TRAIN: Final = "train"
EVAL: Final = "eval"
SPLITS: Final = (TRAIN, EVAL)


def split_folder(split: str) -> str:
    """Returns the folder of a split, relative to the dataset."""
    return f"Split-{split}"


def shard_name(index: int, n_shards: int) -> str:
    """Returns the file name of one shard of a split."""
    return f"records-{index:05d}-of-{n_shards:05d}.tfrecord"


# Features of one record: consecutive log-mel frames of one recording.
RECORDING_ID: Final = "recording_id"  # bytes, 64 hex digits: BLAKE3 of the decoded PCM
SOURCE_URI: Final = "source_uri"  # bytes, utf-8
FINGERPRINT: Final = "fingerprint"  # bytes, 12 hex digits: AudioConfig.fingerprint
FIRST_FRAME: Final = "first_frame"  # int64
N_FRAMES: Final = "n_frames"  # int64
LOG_MEL: Final = "log_mel"  # bytes: little-endian float16 [n_frames, n_mels], natural log
# Figures of these frames, float32, for statistics and validation.
LEVEL_DB: Final = "level_db"  # mean level of the frames, dB re. full scale
PEAK_DB: Final = "peak_db"  # level of the loudest frame, dB re. full scale
SILENCE_SHARE: Final = "silence_share"  # share of frames below -60 dB re. full scale
FLUX: Final = "flux"  # mean rise of log-mel from frame to frame, nats
# Figures of the whole recording before any gain, equal in all of its records.
DURATION_SECONDS: Final = "duration_seconds"
LUFS: Final = "lufs"  # integrated loudness of mono; absent if nothing is loud enough
SAMPLE_PEAK_DB: Final = "sample_peak_db"  # largest sample of any channel, dB re. full scale
CLIPPED_SHARE: Final = "clipped_share"  # share of samples at full scale or beyond
BANDWIDTH_HZ: Final = "bandwidth_hz"  # up to where the mean log spectrum is within 80 dB of its top
CENTROID_HZ: Final = "centroid_hz"  # spectral centroid of the mean spectrum
RECORDING_FIGURES: Final = (
    DURATION_SECONDS,
    LUFS,
    SAMPLE_PEAK_DB,
    CLIPPED_SHARE,
    BANDWIDTH_HZ,
    CENTROID_HZ,
)
FIGURES: Final = (LEVEL_DB, PEAK_DB, SILENCE_SHARE, FLUX, *RECORDING_FIGURES)

# Files.
COMPLETED: Final = "COMPLETED"
DATASET_INFO: Final = "dataset_info.json"
DATA_CARD: Final = "data_card.json"
RECORDINGS: Final = "recordings.jsonl"
REJECTED: Final = "rejected/rejected.jsonl"
EFFECTIVE_CONFIG: Final = "effective_config.yaml"
MANIFEST: Final = "manifest.json"
MODEL_INFO: Final = "assets.extra/model_info.json"
HISTORY: Final = "assets.extra/history.json"
# Name of the list of weights in the exported module.
WEIGHTS: Final = "all_weights"
PRIMERS: Final = "assets.extra/primers.npz"
TENSORBOARD: Final = "assets.extra/tensorboard"
TRANSFORM_GRAPH: Final = "assets.extra/transform_graph"

# Outputs of the Transform graph that normalise log-mel, float32 [batch, n_mels].
MEL_MEAN: Final = "mel_mean"
MEL_STD: Final = "mel_std"
MEL_MAX: Final = "mel_max"

# Signatures of the SavedModel.
ROLLOUT: Final = "rollout"
SCORE: Final = "score"
