"""Trains variants of the configuration on the same music with the same seeds, in one table.

    .venv/bin/python -m benchmarks.experiment benchmarks/defaults.yaml --input MUSIC --output FOLDER

With --test the models are measured on the test recordings: do that once, at the end.

audio -> FOLDER/data/all          split by recording: training, and what is held out
           |-> data/validation    training + one half of what is held out: settings are chosen
           '-> data/test          training + the other half: looked at once
         FOLDER/models/*          a variant and a seed each
         FOLDER/figures/*.json    what its rollouts measured
         FOLDER/validation.md     the table
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
from pipeline.components.code_fingerprint import code_fingerprint
from pipeline.config.load import Config, from_dict
from pipeline.console.terminal import Console
from storage import files

VALIDATION, TEST = "validation", "test"
_MODEL_ARGUMENTS = ("onset_classes", "onset_weight", "mixture_components", "mixture_dims")
# Columns of the table: the figure, what stands above it, and how it is written.
_COLUMNS = (
    ("movement_ratio", "movement", ".2f"),
    ("variance_ratio", "variance", ".2f"),
    ("rhythm_ratio", "rhythm", ".2f"),
    ("attack_ratio", "attack", ".2f"),
    ("drift_db", "drift, dB", ".1f"),
    ("real_drift_db", "real", ".1f"),
    ("kernel_distance", "distance", ".0f"),
    ("real_kernel_distance", "of other real", ".0f"),
    ("diversity_ratio", "diversity", ".2f"),
    ("faulty_share", "faulty", ".0%"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Rollouts of one length.

    Attributes:
      clips: how many.
      seconds: length of each.
    """

    clips: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What a file of an experiment says.

    Attributes:
      variants: of each, what differs from the defaults: sections of the configuration, and `model`,
        the arguments of NextFrameModel that are no settings.
      base: what differs in all of them.
      seeds: of training; each variant is trained with every one.
      held_out: share of the recordings that none of them learns from; half of these validate.
      rollouts: what is generated and measured of each model.
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
        """Returns the configuration of one training.

        Raises:
          UsageError: the variant names a key that is unknown, or a value out of range.
        """
        ours = {"train": {"seed": seed}, "prepare": {"eval_share": self.held_out}}
        sections = {name: keys for name, keys in self.variants[variant].items() if name != "model"}
        return from_dict(_merged(_merged(self.base, sections), ours))

    def model(self, variant: str) -> dict[str, Any]:
        """Returns the arguments of NextFrameModel that a variant changes.

        Raises:
          UsageError: there is no such argument.
        """
        arguments = dict(self.variants[variant].get("model") or {})
        for name in set(arguments) - set(_MODEL_ARGUMENTS):
            known = ", ".join(_MODEL_ARGUMENTS)
            raise UsageError(f"experiment: unknown key {variant}.model.{name}; known: {known}")
        return arguments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What one training came to.

    Attributes:
      variant, seed: which.
      steps, seconds: of training; the second hangs on the machine and on nothing else.
      figures: one dict for each length of rollouts, see pipeline/evaluation/rollout_figures.py.
    """

    variant: str
    seed: int
    steps: int
    seconds: float
    figures: tuple[dict[str, Any], ...]


def read_experiment(path: str) -> Experiment:
    """Reads a YAML file.

    Raises:
      UsageError: it cannot be read, or says what no experiment has.
    """
    try:
        values = yaml.safe_load(pathlib.Path(path).read_text())
        _refuse_unknown(values)
        experiment = pydantic.TypeAdapter(Experiment).validate_python(values)
    except OSError as error:
        raise UsageError(f"experiment {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"experiment {path}: not YAML: {str(error).splitlines()[0]}") from error
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
    """Trains and measures every variant with every seed; what is finished is not done again.

    Args:
      console: where stages are shown.
      experiment: what to do.
      inputs: audio files, folders, globs.
      folder: where everything goes.
      split: what is held against: VALIDATION, or TEST.

    Raises:
      InputError: there are too few recordings to hold two out.
      UsageError: the folder is of another experiment.
    """
    datasets = prepare(console, experiment, inputs, pathlib.Path(folder))
    results = []
    for seed in experiment.seeds:
        for variant in experiment.variants:
            config, arguments = experiment.config(variant, seed), experiment.model(variant)
            # Variants that differ in how they are rolled out share a training.
            model = pathlib.Path(folder, "models", f"{seed}-{_training_key(config, arguments)}")
            said = f"{variant}, seed {seed}"
            _train(console, model, datasets[VALIDATION], config, arguments, said)
            history = json.loads((model / contract.HISTORY).read_text())
            measured = _Measuring(
                model, datasets[split], config, pathlib.Path(folder, "figures"), f"{variant}-{seed}"
            )
            results.append(
                Result(
                    variant=variant,
                    seed=seed,
                    steps=history["steps"],
                    seconds=history["seconds"],
                    figures=tuple(measured.of(console, each) for each in experiment.rollouts),
                )
            )
    plain = [dataclasses.asdict(result) for result in results]
    pathlib.Path(folder, f"{split}.json").write_text(json.dumps(plain, indent=2) + "\n")
    pathlib.Path(folder, f"{split}.md").write_text("\n".join(table(results)) + "\n")
    return results


def prepare(
    console: Console, experiment: Experiment, inputs: Sequence[str], folder: pathlib.Path
) -> dict[str, str]:
    """Returns the datasets of validation and test; their training splits are the same.

    Which recordings are held out, and which of them are for the test, follows from their content.

    Raises:
      InputError: less than two recordings are held out.
    """
    from beam_transforms.sources import find_sources
    from storage.dataset_files import read_recordings

    config = from_dict(_merged(experiment.base, {"prepare": {"eval_share": experiment.held_out}}))
    whole = folder / "data" / "all"
    sources = find_sources(inputs)
    _prepare(console, whole, sources, config)
    rows = list(read_recordings(str(whole)))
    held_out = [row for row in rows if row["split"] == contract.EVAL]
    if len(held_out) < 2:
        raise InputError(
            f"of {len(rows)} recordings {len(held_out)} are held out: validation and test want one "
            "each. Add recordings, or raise held_out."
        )
    held_out.sort(key=lambda row: hashlib.sha256(f"test {row['recording_id']}".encode()).digest())
    half = len(held_out) // 2
    paths = {}
    for name, others in ((TEST, held_out[half:]), (VALIDATION, held_out[:half])):
        left_out = {row["source_uri"] for row in others}
        listed = {row["source_uri"] for row in rows} - left_out
        chosen = [source for source in sources if source.uri in listed]
        paths[name] = str(folder / "data" / name)
        _prepare(console, folder / "data" / name, chosen, config, previous=str(whole))
    return paths


def table(results: Sequence[Result]) -> list[str]:
    """Returns Markdown: for each length of rollouts the variants' means over seeds, and ranges."""
    lines: list[str] = []
    for index in range(len(results[0].figures) if results else 0):
        first = results[0].figures[index]
        columns = [column for column in _COLUMNS if column[0] in first]
        if lines:
            lines.append("")
        lines += [f"{first['rollouts']} rollouts of {first['seconds']:g} s.", ""]
        lines.append("| | seeds | " + " | ".join(name for _, name, _ in columns) + " |")
        lines.append("|---" * (2 + len(columns)) + "|")
        for variant in dict.fromkeys(result.variant for result in results):
            rows = [result.figures[index] for result in results if result.variant == variant]
            cells = [_cell([row[key] for row in rows], form) for key, _, form in columns]
            lines.append(f"| {variant} | {len(rows)} | " + " | ".join(cells) + " |")
    return lines


def _cell(values: Sequence[float], form: str) -> str:
    mean = format(sum(values) / len(values), form)
    low, high = format(min(values), form), format(max(values), form)
    return mean if low == high else f"{mean} ({low} to {high})"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Returns sections of the configuration, with those above over those below."""
    sections = dict.fromkeys([*below, *above])
    return {name: {**(below.get(name) or {}), **(above.get(name) or {})} for name in sections}


def _training_key(config: Config, arguments: Mapping[str, Any]) -> str:
    """Returns 8 hex digits that change with what a training hangs on, the trainer's code too."""
    sections = [dataclasses.asdict(each) for each in (config.audio, config.prepare, config.train)]
    return _digits(json.dumps([sections, arguments, code_fingerprint("trainer")]))


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


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
        stage.outcome = f"{sum(each['recordings'] for each in info['splits'].values())} recordings"


def _require_same(output: pathlib.Path, config: Config) -> None:
    """Refuses a dataset that was prepared otherwise, such as with another share held out.

    Raises:
      UsageError: it was.
    """
    there, ours = (
        yaml.safe_load(text)
        for text in ((output / contract.EFFECTIVE_CONFIG).read_text(), config.to_yaml())
    )
    for name in ("audio", "prepare"):
        if there[name] != ours[name]:
            differing = [key for key in ours[name] if there[name].get(key) != ours[name][key]]
            raise UsageError(
                f"{output} was prepared with another {name}.{differing[0]}. Give another --output."
            )


def _train(
    console: Console,
    model: pathlib.Path,
    dataset: str,
    config: Config,
    arguments: Mapping[str, Any],
    said: str,
) -> None:
    if (model / contract.MODEL_INFO).exists():
        return
    from trainer.fit import steps, train
    from trainer.model.next_frame import NextFrameModel

    changed = functools.partial(NextFrameModel, **arguments)
    with (
        mock.patch.object(steps, "NextFrameModel", changed),
        console.stage(f"train {said}") as stage,
    ):
        train.train(
            dataset_path=dataset,
            model_path=str(model),
            settings=config.train,
            effective_config=config.to_yaml(),
            progress=lambda done, total, loss: stage.update(done, total, f"loss {loss:.4f}"),
        )


@dataclasses.dataclass(frozen=True)
class _Measuring:
    """Figures of one model's rollouts, each measured once."""

    model: pathlib.Path
    dataset: str
    config: Config
    folder: pathlib.Path
    name: str

    def of(self, console: Console, rollouts: Rollouts) -> dict[str, Any]:
        """Returns the figures of some rollouts."""
        name = f"{self.name}, {rollouts.clips} of {rollouts.seconds:g} s"
        kept = self.folder / f"{self.name}-{rollouts.seconds:g}s-{self._key(rollouts)}.json"
        if kept.exists():
            return dict(files.read_json(str(kept)))
        with console.stage(f"measure {name}"):
            figures = self._measured(rollouts)
        files.write_text(str(kept), json.dumps(figures, indent=2) + "\n")
        return figures

    def _measured(self, rollouts: Rollouts) -> dict[str, Any]:
        from generator.inference import load_model
        from pipeline.evaluation.rollout_figures import measure_model
        from trainer.data.windows import open_dataset

        found = measure_model(
            load_model(str(self.model)),
            open_dataset(self.dataset),
            rollouts=rollouts.clips,
            seconds=rollouts.seconds,
            temperature=self.config.generate.temperature,
        )
        return dataclasses.asdict(found)

    def _key(self, rollouts: Rollouts) -> str:
        """Returns 8 hex digits that change with the model and how it is judged."""
        plain = [self.config.generate.temperature, dataclasses.asdict(rollouts)]
        code = code_fingerprint("audio", "generator", "pipeline")
        return _digits(json.dumps([self.model.name, self.dataset, plain, code]))


def main() -> None:
    """Runs the experiment that the command line names, and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="a YAML file of variants, such as benchmarks/defaults.yaml")
    parser.add_argument("--input", action="append", required=True, help="a file or folder of audio")
    parser.add_argument("--output", required=True, help="folder for data, models and tables")
    parser.add_argument("--test", action="store_true", help="measure on the test recordings")
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
