"""A model's last step: from beside its name to it."""

import pytest
import tensorflow as tf

from trainer.export.saved_model import move_model

FILES = ("fingerprint.pb", "saved_model.pb", "assets.extra/model_info.json", "variables/v.index")


def model_beside(root: str) -> None:
    for name in FILES:
        tf.io.gfile.makedirs(f"{root}/m.partial/{name}".rpartition("/")[0])
        with tf.io.gfile.GFile(f"{root}/m.partial/{name}", "w") as file:
            file.write(name)


def found(folder: str) -> dict[str, str]:
    content = {}
    for name in FILES:
        if tf.io.gfile.exists(f"{folder}/{name}"):
            with tf.io.gfile.GFile(f"{folder}/{name}") as file:
                content[name] = file.read()
    return content


@pytest.mark.parametrize("at", range(4))
def test_a_kill_among_objects_leaves_no_model_and_a_rerun_a_whole_one(monkeypatch, at) -> None:
    """ram:// moves file by file, as a bucket does."""
    root, copy, calls = f"ram://serving-{at}", tf.io.gfile.copy, []

    def killed(source: str, target: str, *, overwrite: bool = False) -> None:
        calls.append(target)
        if len(calls) == at + 1:
            raise KeyboardInterrupt
        # ram:// appends to what is there, where a bucket replaces it.
        if tf.io.gfile.exists(target):
            assert overwrite
            tf.io.gfile.remove(target)
        copy(source, target, overwrite=overwrite)

    model_beside(root)
    monkeypatch.setattr(tf.io.gfile, "copy", killed)
    with pytest.raises(KeyboardInterrupt):
        move_model(f"{root}/m.partial", f"{root}/m")
    assert "saved_model.pb" not in found(f"{root}/m")
    assert len(found(f"{root}/m")) == at
    move_model(f"{root}/m.partial", f"{root}/m")
    assert found(f"{root}/m") == {name: name for name in FILES}
    assert not tf.io.gfile.exists(f"{root}/m.partial/saved_model.pb")


def test_on_disk_a_model_moves_at_once(monkeypatch, tmp_path) -> None:
    monkeypatch.delattr(tf.io.gfile, "copy")
    model_beside(str(tmp_path))
    move_model(f"{tmp_path}/m.partial", f"{tmp_path}/m")
    assert found(f"{tmp_path}/m") == {name: name for name in FILES}
    assert not (tmp_path / "m.partial").exists()
