"""`nocturne init`: a configuration with every setting explained, and a guide to the folders."""

from __future__ import annotations

import json
import textwrap

import yaml

from audio.errors import OutputExistsError
from pipeline.config.load import Config, describe, json_schema
from storage import files

CONFIG = "nocturne.yaml"
GUIDE = "LAYOUT.md"
SCHEMA = "config.schema.json"
# Folders of a workspace and what they hold. Commands create them.
_FOLDERS = {
    "music": "the recordings to learn from, in any folders",
    "root": "the pipelines' artifacts, metadata and blessed models (`--root`)",
    "clips": "one folder for each generation run, named by its date (`--output`)",
}
_WIDTH = 100


def run(target: str) -> list[str]:
    """Writes a commented configuration, its JSON schema and a guide to the folders.

    Args:
      target: A new or existing folder, local or gs://.

    Returns:
      The paths of the files that were written.

    Raises:
      OutputExistsError: One of the files exists. Then none is written.
    """
    target = target.rstrip("/") or "/"
    schema = json.dumps(json_schema(), indent=2) + "\n"
    texts = {CONFIG: commented(Config()), SCHEMA: schema, GUIDE: _guide(target)}
    paths = {files.join(target, name): text for name, text in texts.items()}
    for path in paths:
        if files.exists(path):
            raise OutputExistsError(
                f"{path} already exists and is not overwritten. Edit it, or choose another folder."
            )
    for path, text in paths.items():
        files.write_text(path, text)
    return list(paths)


def commented(config: Config) -> str:
    """Returns a YAML file with all settings, each with its explanation, all commented out.

    It therefore keeps the defaults of later versions. Without the signs in front of its keys it is
    the given configuration.
    """
    lines = [
        f"# yaml-language-server: $schema={SCHEMA}",
        "# Settings of Nocturne. What is commented out is the default: to change it, remove the",
        "# sign in front of it and of its section. --set section.key=value overrides this file.",
    ]
    values = config.plain()
    for section, keys in values.items():
        lines += ["", f"#{section}:"]
        for setting, (key, value) in zip(describe(section), keys.items(), strict=True):
            text = f"{setting.description} ({setting.wanted})"
            lines += textwrap.wrap(text, _WIDTH, initial_indent="  # ", subsequent_indent="  # ")
            dumped = yaml.safe_dump(value, default_flow_style=True, width=4096, sort_keys=False)
            lines.append(f"#  {key}: {dumped.splitlines()[0]}")
    return "\n".join(lines) + "\n"


def _guide(target: str) -> str:
    paths = {name: files.join(target, name) for name in _FOLDERS}
    rows = [f"| `{paths[name]}` | {what} |" for name, what in _FOLDERS.items()]
    config = files.join(target, CONFIG)
    given = CONFIG if files.is_remote(target) else config
    copied = (
        [f"The commands read the configuration from a local file: copy `{config}` first.", ""]
        if files.is_remote(target)
        else []
    )
    return "\n".join(
        [
            "# Where things are",
            "",
            "| where | what |",
            "|---|---|",
            f"| `{config}` | the settings, with explanations |",
            f"| `{files.join(target, SCHEMA)}` | a JSON schema, with which editors check them |",
            *rows,
            "",
            *copied,
            "    nocturne prepare --input " + paths["music"] + " --output NEW --dry-run",
            f"    nocturne run training --input {paths['music']} --root {paths['root']} "
            f"--config {given}",
            f"    nocturne run generation --root {paths['root']} --output {paths['clips']}/DATE "
            f"--date DATE --config {given}",
            "",
        ]
    )
