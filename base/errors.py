"""What a command tells the user in one line, instead of a traceback."""


class UserError(Exception):
    """Something that the user can mend. Its text is one line: what is wrong, where, and what to do."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str, most: int = 1000) -> str:
    """A text as one line that a terminal shows as it is: what is not printable escaped, cut where it is long.

    So a name with line ends, colours or marks that turn the writing direction can't pretend to be a message.
    """
    text = " ".join(text[: 4 * most].split())
    text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    return text if len(text) <= most else f"{text[: most - 3]}..."
