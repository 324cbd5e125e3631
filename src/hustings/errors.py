"""All errors that Hustings raises deliberately; each message is one paragraph: what, where, what to do.

HustingsError                exit code 2 unless noted
├── SettingsError            a setting is unknown, of the wrong type, out of range, or impossible with another
├── ModelError               weights are missing, truncated, or of an architecture that an engine lacks
├── ArtifactError            files on disk do not match their manifest, or cannot be written
│   └── BusyError            another process is writing the same artifact
├── RecordError              an event log has a line that cannot be read
├── AlarmError               most answers of a model are invalid or empty
├── PersonaError             the model could not write a usable persona
├── DataError                the model could not write the questions or answers to train on
├── TrainingError            an adapter does not fit its model, or cannot be trained on this machine
├── AdapterError             there is no such adapter, or it belongs to another model
├── BenchmarkError           a benchmark does not exist, its data are missing or malformed, or it is too small
├── SweepError               jobs of a sweep could not be started
└── EngineError              an engine could not answer a request
"""

from collections.abc import Generator
from contextlib import contextmanager


class HustingsError(Exception):
    """An error that the user can act on; shown as one paragraph, without a traceback."""

    exit_code = 2


class SettingsError(HustingsError):
    """A setting is unknown, of the wrong type, out of range, or impossible with another."""


class ModelError(HustingsError):
    """Weights are missing, truncated, or of an architecture that the engine cannot run."""


class ArtifactError(HustingsError):
    """Files on disk do not match their manifest, or a folder cannot be written."""


class BusyError(ArtifactError):
    """Another process is writing the same artifact."""


class RecordError(HustingsError):
    """An event log holds a line that cannot be read."""


class AlarmError(HustingsError):
    """Most answers of a model are invalid or empty, so the run is not worth continuing."""


class PersonaError(HustingsError):
    """The model could not write a usable persona."""


class DataError(HustingsError):
    """The model could not write the questions or answers to train on."""


class TrainingError(HustingsError):
    """An adapter does not fit its model, or cannot be trained on this machine."""


class AdapterError(HustingsError):
    """There is no such adapter, or it belongs to another model."""


class BenchmarkError(HustingsError):
    """A benchmark does not exist, its data are missing or malformed, or it is smaller than what was asked for."""


class SweepError(HustingsError):
    """Jobs of a sweep could not be started."""


class EngineError(HustingsError):
    """An engine could not answer a request."""


@contextmanager
def quoting(kind: type[HustingsError], paragraph: str) -> Generator[None]:
    """Wrap calls to another library: whatever it raises becomes our error, with the first line of its message for `{}`.

    Args:
        kind: class of our error.
        paragraph: our message: what was wrong, where, what to do.
    """
    try:
        yield
    except HustingsError:
        raise
    except Exception as error:  # libraries, and those that they call, may raise anything
        before, _, after = paragraph.partition("{}")
        raise kind(f"{before}{first_line(error)}{after}") from error


def first_line(error: Exception) -> str:
    """The first line of another library's error message, for use in our own."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
