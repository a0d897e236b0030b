import apache_beam as beam
import pytest

from audio.errors import NocturneError, OutputExistsError
from pipeline.console.root_cause import find_nocturne_error


def test_a_users_error_is_found_behind_others() -> None:
    try:
        try:
            raise OutputExistsError("the folder is taken")
        except OutputExistsError as error:
            raise RuntimeError("node failed") from error
    except RuntimeError as error:
        found = find_nocturne_error(error)
    assert isinstance(found, OutputExistsError)


def fail(element: int) -> None:
    raise OutputExistsError(f"clip {element} is taken. Choose another --output.")


def test_a_users_error_survives_beam() -> None:
    with (
        pytest.raises(Exception, match="clip 7") as caught,
        beam.Pipeline("FnApiRunner") as pipeline,
    ):
        pipeline | beam.Create([7]) | beam.Map(fail)
    found = find_nocturne_error(caught.value)
    assert isinstance(found, NocturneError)
    assert found.exit_code == OutputExistsError.exit_code
    assert str(found) == "clip 7 is taken. Choose another --output."


def test_an_interrupt_that_beam_turned_into_text_is_an_interrupt() -> None:
    error = RuntimeError("KeyboardInterrupt [while running 'PrepareDataset/StageRecordings']")
    assert isinstance(find_nocturne_error(error), KeyboardInterrupt)


def test_anything_else_is_its_first_cause() -> None:
    cause = KeyError("x")
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    assert find_nocturne_error(error) is cause
