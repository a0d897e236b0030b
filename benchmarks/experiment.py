"""Trains variants of a configuration on the same music with the same seeds, and compares them.

FOLDER/data/all         dataset of all recordings, split into training and held-out recordings
FOLDER/data/validation  the training recordings, and one half of the held-out ones
FOLDER/data/test        the training recordings, and the other half
FOLDER/models/*         one model for each variant and seed
FOLDER/figures/*.json   figures of the rollouts of each model
FOLDER/validation.md    table of the figures; with --test FOLDER/test.md
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import pydantic
import yaml

from audio import contract
from audio.errors import InputError, UsageError
from benchmarks.experiment_table import Result, table
from pipeline.config.load import Config, from_dict
from pipeline.config.yaml_text import explain, read_yaml
from pipeline.console.terminal import Console
from storage import files
from storage.source_code import code_fingerprint

# Datasets on which models are measured.
VALIDATION = "validation"
TEST = "test"
# Arguments of NextFrameModel that a variant may change although they are not settings.
_MODEL_ARGUMENTS = (
    "beat_weight",
    "mixture_components",
    "mixture_dims",
    "onset_classes",
    "onset_weight",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Number of rollouts of one length, which is in seconds."""

    clips: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """The contents of an experiment's YAML file.

    Attributes:
      variants: For each variant, the sections of the configuration that differ from the defaults;
        the additional section `model` holds arguments of NextFrameModel.
      base: Sections of the configuration that differ from the defaults in all variants.
      seeds: Training seeds; each variant is trained once with each.
      held_out: Share of recordings that are held out, half for validation and half for the test.
      rollouts: Rollouts that are measured of each model.
    """

    variants: dict[str, dict[str, Any]]
    base: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    held_out: float = 0.4
    rollouts: tuple[Rollouts, ...] = (
        Rollouts(clips=48, seconds=10.0),
        Rollouts(clips=8, seconds=60.0),
    )

    def config(self, variant: str, seed: int) -> Config:
        """Returns the configuration of one training run.

        Raises:
          UsageError: The variant has an unknown key or a value out of range.
        """
        sections = {name: keys for name, keys in self.variants[variant].items() if name != "model"}
        fixed = {"train": {"seed": seed}, "prepare": {"eval_share": self.held_out}}
        return from_dict(_merged(_merged(self.base, sections), fixed))

    def model(self, variant: str) -> dict[str, Any]:
        """Returns the arguments of NextFrameModel that a variant changes.

        Raises:
          UsageError: The variant has an unknown argument.
        """
        arguments = dict(self.variants[variant].get("model") or {})
        for name in set(arguments) - set(_MODEL_ARGUMENTS):
            known = ", ".join(_MODEL_ARGUMENTS)
            raise UsageError(f"experiment: unknown key {variant}.model.{name}; known: {known}")
        return arguments


def read_experiment(path: str) -> Experiment:
    """Reads and checks the YAML file of an experiment.

    Raises:
      UsageError: The file cannot be read, or has an unknown key or a value out of range.
    """
    try:
        values, _ = read_yaml(pathlib.Path(path).read_text(encoding="utf-8-sig"))
        _refuse_unknown(values)
        experiment = pydantic.TypeAdapter(Experiment).validate_python(values)
    except OSError as error:
        raise UsageError(f"experiment {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"experiment {path}, {explain(error)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"experiment {path}: not UTF-8 text. Save the file as UTF-8.") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"experiment {path}: {key}: {first['msg'].lower()}") from error
    for variant in experiment.variants:
        experiment.config(variant, 0)
        experiment.model(variant)
    return experiment


def _refuse_unknown(values: Any) -> None:
    known = [field.name for field in dataclasses.fields(Experiment)]
    for key in values if isinstance(values, dict) else ():
        if key not in known:
            raise UsageError(f"experiment: unknown key {key}; known: {', '.join(known)}")


def run(
    console: Console,
    experiment: Experiment,
    *,
    inputs: Sequence[str],
    folder: str,
    split: str = VALIDATION,
) -> list[Result]:
    """Trains and measures every variant with every seed, and skips what the folder already has.

    Args:
      console: Output for stages.
      experiment: Variants and seeds.
      inputs: Audio files, folders and globs.
      folder: Folder of all results.
      split: Dataset on which models are measured, VALIDATION or TEST.

    Raises:
      InputError: Fewer than two recordings are held out.
      UsageError: The folder's dataset was prepared with other settings.
    """
    datasets = prepare(console, experiment, inputs, pathlib.Path(folder))
    results = []
    for seed in experiment.seeds:
        for variant in experiment.variants:
            config, arguments = experiment.config(variant, seed), experiment.model(variant)
            # Variants that differ only in the settings of rollouts share a model.
            model = pathlib.Path(folder, "models", f"{seed}-{_training_key(config, arguments)}")
            title = f"{variant}, seed {seed}"
            _train(console, model, datasets[VALIDATION], config, arguments, title)
            history = json.loads((model / contract.HISTORY).read_text())
            path = pathlib.Path(folder, "figures", f"{variant}-{seed}")
            results.append(
                Result(
                    variant=variant,
                    seed=seed,
                    steps=history["steps"],
                    seconds=history["seconds"],
                    figures=tuple(
                        _measure(console, model, datasets[split], config, rollouts, path)
                        for rollouts in experiment.rollouts
                    ),
                )
            )
    rows = [dataclasses.asdict(result) for result in results]
    pathlib.Path(folder, f"{split}.json").write_text(json.dumps(rows, indent=2) + "\n")
    pathlib.Path(folder, f"{split}.md").write_text("\n".join(table(results)) + "\n")
    return results


def prepare(
    console: Console, experiment: Experiment, inputs: Sequence[str], folder: pathlib.Path
) -> dict[str, str]:
    """Returns the paths of the validation and the test dataset; their training splits are equal.

    Hashes of the recordings decide which are held out, and which of these are for the test.

    Raises:
      InputError: Fewer than two recordings are held out.
    """
    from beam_transforms.sources import find_sources
    from storage.dataset_files import read_recordings

    config = from_dict(_merged(experiment.base, {"prepare": {"eval_share": experiment.held_out}}))
    complete = folder / "data" / "all"
    sources = find_sources(inputs)
    _prepare(console, complete, sources, config)
    rows = list(read_recordings(str(complete)))
    held_out = [row for row in rows if row["split"] == contract.EVAL]
    if len(held_out) < 2:
        raise InputError(
            f"{len(held_out)} of {len(rows)} recordings are held out; validation and test need one "
            "each. Add recordings, or raise held_out."
        )
    held_out.sort(key=lambda row: hashlib.sha256(f"test {row['recording_id']}".encode()).digest())
    half = len(held_out) // 2
    paths = {}
    for name, excluded in ((TEST, held_out[half:]), (VALIDATION, held_out[:half])):
        uris = {row["source_uri"] for row in rows} - {row["source_uri"] for row in excluded}
        chosen = [source for source in sources if source.uri in uris]
        paths[name] = str(folder / "data" / name)
        _prepare(console, folder / "data" / name, chosen, config, previous=str(complete))
    return paths


def _merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Returns sections of a configuration; keys of `override` win over those of `base`."""
    sections = dict.fromkeys([*base, *override])
    return {name: {**(base.get(name) or {}), **(override.get(name) or {})} for name in sections}


def _training_key(config: Config, arguments: Mapping[str, Any]) -> str:
    """Returns a hash of the trainer's code and everything else that a training run depends on."""
    sections = dataclasses.asdict(config)
    used = [sections[name] for name in ("audio", "prepare", "train")]
    return _hash([used, arguments, code_fingerprint("trainer")])


def _hash(values: Sequence[Any]) -> str:
    """Returns 8 hex digits."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]


def _prepare(
    console: Console,
    output: pathlib.Path,
    sources: Sequence[Any],
    config: Config,
    *,
    previous: str | None = None,
) -> None:
    if (output / contract.COMPLETED).exists():
        _require_same(output, config)
        return
    from beam_transforms import prepare as job

    with console.stage(f"prepare {output.name}") as stage:
        info = job.run(
            sources=sources,
            output=str(output),
            audio=config.audio,
            settings=config.prepare,
            effective_config=config.to_yaml(),
            previous=previous,
            beam_args=config.beam.prepare,
        )
        counts = [split["recordings"] for split in info["splits"].values()]
        stage.outcome = f"{sum(counts)} recordings"


def _require_same(output: pathlib.Path, config: Config) -> None:
    """Checks that a dataset was prepared with the settings of this experiment.

    Raises:
      UsageError: A setting differs.
    """
    dataset = yaml.safe_load((output / contract.EFFECTIVE_CONFIG).read_text())
    experiment = yaml.safe_load(config.to_yaml())
    for section in ("audio", "prepare"):
        for key, value in experiment[section].items():
            if dataset[section].get(key) != value:
                raise UsageError(
                    f"{output} was prepared with another {section}.{key}. Give another --output."
                )


def _train(
    console: Console,
    model: pathlib.Path,
    dataset: str,
    config: Config,
    arguments: Mapping[str, Any],
    title: str,
) -> None:
    if (model / contract.MODEL_INFO).exists():
        return
    from trainer.fit import steps, train
    from trainer.model.next_frame import NextFrameModel

    variant = functools.partial(NextFrameModel, **arguments)
    with (
        mock.patch.object(steps, "NextFrameModel", variant),
        console.stage(f"train {title}") as stage,
    ):
        train.train(
            dataset_path=dataset,
            model_path=str(model),
            settings=config.train,
            effective_config=config.to_yaml(),
            progress=lambda done, total, loss: stage.update(done, total, f"loss {loss:.4f}"),
        )


def _measure(
    console: Console,
    model: pathlib.Path,
    dataset: str,
    config: Config,
    rollouts: Rollouts,
    path: pathlib.Path,
) -> dict[str, Any]:
    """Returns the figures of a model's rollouts, from a file if they were measured before."""
    from generator.inference import load_model
    from pipeline.evaluation.controls import measure_controls
    from pipeline.evaluation.rollout_figures import describe_rollouts, place_rollouts
    from pipeline.evaluation.rollouts import make_rollouts
    from trainer.data.windows import open_dataset

    temperature = config.generate.temperature
    code = code_fingerprint("audio", "generator", "pipeline")
    key = _hash([model.name, dataset, temperature, dataclasses.asdict(rollouts), code])
    file = path.with_name(f"{path.name}-{rollouts.seconds:g}s-{key}.json")
    if file.exists():
        return dict(files.read_json(str(file)))
    with console.stage(f"measure {path.name}, {rollouts.clips} of {rollouts.seconds:g} s"):
        loaded, opened = load_model(str(model)), open_dataset(dataset)
        rollout_set = make_rollouts(
            loaded,
            opened,
            rollouts=rollouts.clips,
            seconds=rollouts.seconds,
            temperature=temperature,
        )
        described, _ = describe_rollouts(rollout_set, opened)
        placed = place_rollouts(rollout_set, measure_controls(loaded, opened, rollout_set).clips)
    scores = [score["score"] for score in placed["scores"].values()]
    row = {
        **described,
        **{name: figure["model"] for name, figure in placed["scale"].items()},
        **{f"real_{name}": figure["real"] for name, figure in placed["scale"].items()},
        "lowest_score": min((score for score in scores if score is not None), default=-1.0),
    }
    files.write_text(str(file), json.dumps(row, indent=2) + "\n")
    return row


def main() -> None:
    """Runs an experiment and prints its table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("file", help="YAML file of variants, such as benchmarks/defaults.yaml")
    parser.add_argument("--input", action="append", required=True, help="audio file or folder")
    parser.add_argument("--output", required=True, help="folder for data, models and tables")
    parser.add_argument(
        "--test", action="store_true", help="measure on the test recordings: once, at the end"
    )
    options = parser.parse_args()
    with Console() as console:
        results = run(
            console,
            read_experiment(options.file),
            inputs=options.input,
            folder=options.output,
            split=TEST if options.test else VALIDATION,
        )
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
