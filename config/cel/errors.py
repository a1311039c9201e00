"""The one error that an expression may end in."""


class ExpressionError(Exception):
    """What is wrong with an expression, and where.

    `message` is a sentence that never quotes a value (values may be secret), `offset` counts
    characters from the start of the source, `remedy` says what to do and may be empty.
    """

    def __init__(self, message: str, offset: int = 0, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message
