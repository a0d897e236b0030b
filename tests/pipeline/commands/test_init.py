"""`nocturne init`: what it writes can be read, edited and run."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
import yaml

from audio.errors import OutputExistsError
from pipeline.commands import init
from pipeline.config.load import Config, describe, json_schema, load_config


def test_as_written_it_is_the_defaults(tmp_path) -> None:
    init.run(str(tmp_path / "new"))
    assert load_config(str(tmp_path / "new" / "nocturne.yaml")) == Config()


def test_without_the_signs_in_front_of_keys_it_is_the_whole_configuration() -> None:
    text = re.sub(
        "^#( *[a-z_-])", r"\1", init.commented(Config()).split("\n\n", 1)[1], flags=re.MULTILINE
    )
    assert yaml.safe_load(text) == yaml.safe_load(Config().to_yaml())


@pytest.mark.parametrize("section", [field.name for field in dataclasses.fields(Config)])
def test_every_key_is_explained_above_it(section: str) -> None:
    text = init.commented(Config())
    (part,) = [part for part in text.split("\n\n") if part.startswith(f"#{section}:\n")]
    comments: list[str] = []
    explained = {}
    for line in part.splitlines()[1:]:
        if line.startswith("  # "):
            comments.append(line.removeprefix("  # "))
        else:
            explained[line.removeprefix("#  ").partition(":")[0]] = " ".join(comments)
            comments = []
    assert explained == {
        setting.key.partition(".")[2]: f"{setting.description} ({setting.wanted})"
        for setting in describe(section)
    }


def test_its_schema_is_beside_it_and_named_in_the_first_line(tmp_path) -> None:
    init.run(str(tmp_path))
    first = (tmp_path / "nocturne.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=config.schema.json"
    assert json.loads((tmp_path / "config.schema.json").read_text()) == json_schema()


def test_one_key_can_be_changed_in_place(tmp_path) -> None:
    init.run(str(tmp_path))
    file = tmp_path / "nocturne.yaml"
    text = file.read_text().replace("#train:", "train:").replace("#  steps: 320", "  steps: 7")
    file.write_text(text)
    assert load_config(str(file)).train == dataclasses.replace(Config().train, steps=7)


def test_a_section_without_keys_is_the_defaults(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("train:\n#  steps: 7\n")
    assert load_config(str(tmp_path / "config.yaml")) == Config()


def test_nothing_is_written_over(tmp_path) -> None:
    (tmp_path / "LAYOUT.md").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"LAYOUT\.md already exists"):
        init.run(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["LAYOUT.md"]
    assert (tmp_path / "LAYOUT.md").read_text() == "mine"
