"""The exceptions that reach a user as a single line, and the exit status that goes with each."""


class StudyError(Exception):
    """Bad input or a damaged study. The message is one line: what is wrong, where, what to do."""

    status = 1


class CouldNotCheck(StudyError):
    """What was asked for could neither be shown to hold nor not to: something that must be asked does not answer."""

    status = 3
