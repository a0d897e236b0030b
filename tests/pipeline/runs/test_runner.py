import pytest

from audio.errors import NotBlessedError, UsageError
from pipeline.config.load import load_config
from pipeline.console.terminal import Console
from pipeline.root.paths import Layout

# TFX warns of its own past when it is loaded.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class Silent(Console):
    def __init__(self) -> None:
        """Opens nothing."""


def test_batches_are_sized_by_their_bytes_not_by_the_time_they_took(tmp_path) -> None:
    """Transform's executor leaves their size to a default; sums would differ from run to run."""
    from tfx_bsl.coders import batch_util

    from pipeline.runs.runner import StagedDagRunner

    StagedDagRunner(console=Silent(), layout=Layout(root=str(tmp_path)), run_id="x")
    options = batch_util.GetBatchElementsKwargs(None)
    assert options["min_batch_size"] == options["max_batch_size"]


def test_a_node_stops_listening_to_the_training_when_it_ends(tmp_path) -> None:
    """Else the next training of this process writes to a console that is closed."""
    from pipeline.console.terminal import Stage
    from pipeline.runs.runner import _showing_progress
    from trainer.fit import train

    def interrupted() -> None:
        with _showing_progress(Stage(Silent(), "Trainer"), Layout(str(tmp_path))):
            assert train.listener is not None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert train.listener is None


def test_a_store_that_is_another_roots_is_refused(tmp_path) -> None:
    """A night would find the other root's blessed model."""
    from pipeline.root.metadata_store import SharedMetadata
    from pipeline.runs import launch

    config = load_config(None, [f"metadata.path={tmp_path}/team.sqlite"])

    def night(root: str) -> None:
        with Console() as console:
            launch.run_generation(
                console, str(tmp_path / root), str(tmp_path / "clips"), config, run_id="night"
            )

    with SharedMetadata(Layout.at(str(tmp_path / "jazz"), config.metadata)):
        pass  # the store is there, and empty
    for _ in range(2):
        with pytest.raises(NotBlessedError):
            night("jazz")
    with pytest.raises(UsageError, match=r"belongs to .*/jazz\. Give each root a store of its own"):
        night("rock")
