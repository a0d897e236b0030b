"""`nocturne init`: a configuration with every key explained, and a place for everything."""

from __future__ import annotations

import dataclasses
import re
import textwrap

import yaml

from audio.errors import OutputExistsError
from pipeline.config.load import Config
from storage import files

CONFIG, GUIDE = "nocturne.yaml", "LAYOUT.md"
# Names below a workspace, and what goes there. Nothing needs a folder before it is written to.
_FOLDERS = {
    "music": "the recordings to learn from, in any folders",
    "root": "the pipelines' artifacts, metadata and blessed models (`--root`)",
    "clips": "one folder a night, named by its date (`--output`)",
}
_WIDTH = 100


def run(target: str) -> list[str]:
    """Writes a commented configuration and a guide to the layout into a new or existing folder.

    Args:
      target: a folder or a gs:// path.

    Returns:
      The paths that were written.

    Raises:
      OutputExistsError: one of the files is there already; none is written then.
    """
    target = target.rstrip("/") or "/"
    texts = {CONFIG: commented(Config()), GUIDE: _guide(target)}
    paths = {files.join(target, name): text for name, text in texts.items()}
    for path in paths:
        if files.exists(path):
            raise OutputExistsError(
                f"{path} is there already, and is not written over. Edit it, or choose another "
                "folder."
            )
    for path, text in paths.items():
        files.write_text(path, text)
    return list(paths)


def commented(config: Config) -> str:
    """Returns a YAML file that says what each key means; every key is commented out.

    Without its comment signs before keys it is `config`; as it stands it is the defaults, whatever
    they will be in a later version.
    """
    lines = [
        "# Settings of Nocturne. What is commented out is the default; remove the sign in front of",
        "# a section and a key to change it. `--set section.key=value` goes on top of this file.",
    ]
    for field in dataclasses.fields(config):
        section = getattr(config, field.name)
        lines += ["", f"#{field.name}:"]
        explained = _attributes(type(section).__doc__ or "")
        for key in dataclasses.fields(section):
            lines += _explanation(explained.get(key.name, ""))
            lines += _key(key.name, getattr(section, key.name))
    return "\n".join(lines) + "\n"


def _explanation(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  # ", subsequent_indent="  # ")


def _key(name: str, value: object) -> list[str]:
    plain = list(value) if isinstance(value, tuple) else value
    dumped = yaml.safe_dump(plain, default_flow_style=True, width=4096, sort_keys=False)
    return [f"#  {name}: {dumped.splitlines()[0]}"]


def _attributes(docstring: str) -> dict[str, str]:
    """Returns the `Attributes:` of a docstring by name; `a, b: text` explains both at a."""
    _, _, attributes = docstring.partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        begun = re.match(r"      ([a-z_]+(?:, [a-z_]+)*): (.*)", line)
        if begun:
            names = begun[1].split(", ")
            found[names[0]] = begun[2]
            found.update(dict.fromkeys(names[1:], f"See {names[0]}."))
        elif line.startswith("        ") and names:
            found[names[0]] += f" {line.strip()}"
    return found


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
            f"| `{config}` | the settings; every key is explained there |",
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
