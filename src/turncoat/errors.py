"""Everything that turncoat raises on purpose. The command line prints the message as one line and exits with 2."""

from collections.abc import Sequence


class TurncoatError(Exception):
    """Base of all errors that name a mistake in the input rather than in turncoat."""


class SpecError(TurncoatError, ValueError):
    """A name, argument or field that does not exist, or a value that it cannot take."""


class InputError(TurncoatError, ValueError):
    """Vectors that no rule can aggregate: ragged, empty, of integers, or with too many rows that are not finite."""


class NonFiniteError(InputError):
    """Too many rows that are not finite; `rows` are their numbers, of workers the ranks."""

    def __init__(self, message: str, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class GroupError(TurncoatError, RuntimeError):
    """A process group that cannot go on: a rank stalls, dies, or sends something else than the others."""


class ToleranceError(TurncoatError, ValueError):
    """More Byzantine workers than a rule can tolerate among n."""


class BudgetError(TurncoatError, RuntimeError):
    """An exact search that would take more steps than it was allowed."""


class HiddenError(TurncoatError, PermissionError):
    """An attack read what its knowledge level hides, or needs what it was not given."""


class DataUnavailableError(TurncoatError, FileNotFoundError):
    """A data set that is not on this machine and could not be fetched."""


class ResultError(TurncoatError, OSError):
    """A result or checkpoint that cannot be written, read or continued."""
