import pytest

from audio.errors import UsageError
from pipeline.root.paths import Layout, run_id_for


def test_airflows_run_ids_name_runs() -> None:
    given = "nocturne_generation.scheduled__2026-11-22T01:00:00+00:00"
    assert run_id_for("generation", given, "BatchGenerator") == given
    assert run_id_for("training", None, None).startswith("training-2")


@pytest.mark.parametrize("given", ["../other", "a/b", ".hidden", "-x", "a b", "a\n", "x" * 201])
def test_what_cannot_name_a_folder_names_no_run(given) -> None:
    with pytest.raises(UsageError, match=r"--run-id: wanted up to 200 letters"):
        run_id_for("training", given, None)


@pytest.mark.parametrize(("given", "only"), [(None, "Trainer"), ("", "Trainer"), ("x", "../y")])
def test_one_node_needs_a_run_and_a_name(given, only) -> None:
    with pytest.raises(UsageError, match="--only: wanted"):
        run_id_for("training", given, only)


@pytest.mark.parametrize("name", ["songs [2026]", "a*b", "what?", "back\\slash", "caf\udce9"])
def test_a_root_that_tfx_takes_for_a_pattern_is_refused_by_name(
    tmp_path, monkeypatch, name
) -> None:
    with pytest.raises(UsageError, match=r"--root: TFX finds its files by patterns"):
        Layout.at(f"{tmp_path}/{name}/root")
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UsageError, match=r"--root: TFX finds its files by patterns"):
        Layout.at("root")


def test_a_root_may_have_any_other_name(tmp_path) -> None:
    assert Layout.at(f"{tmp_path}/100% #1 {{a}} é").root == f"{tmp_path}/100% #1 {{a}} é"
