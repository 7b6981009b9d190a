"""The one exception that reaches a user as a single line."""


class StudyError(Exception):
    """Bad input or a damaged study. The message is one line: what is wrong, where, what to do."""
