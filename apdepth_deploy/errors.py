"""Every failure a user can meet, as one tree of exceptions.

A message says which rule was broken and what to do about it, in one or two lines.
``exit_code`` is what the command line returns: 1 the work failed a check, 2 wrong use or bad input.
"""


class ApDepthError(Exception):
    """Base of all errors raised on purpose by this project."""

    exit_code = 2


class UsageError(ApDepthError):
    """An argument or a combination of arguments that can't work."""


class ImageError(ApDepthError):
    """A picture that can't be read, or that the model can't take."""


class CheckpointError(ApDepthError):
    """A checkpoint folder, hub repository or weights file that doesn't fit."""


class ExportError(ApDepthError):
    """A model that can't be turned into a graph as asked."""


class BundleError(ApDepthError):
    """A bundle that is incomplete, damaged, or from another version."""


class BackendError(ApDepthError):
    """An engine library that is missing, or that can't run this graph here."""


class DataError(ApDepthError):
    """A data set, or one of its samples, that is missing, damaged or not in its layout."""


class OutputError(ApDepthError):
    """A result that could not be written; what stood there before is untouched."""


class ParityError(ApDepthError):
    """A graph or engine whose results stray from the PyTorch model."""

    exit_code = 1


class TrainingError(ApDepthError):
    """A training that went wrong while it ran: a loss that is no number, too many bad samples."""

    exit_code = 1
