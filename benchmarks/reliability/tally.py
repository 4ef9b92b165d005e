"""Counts of what became of bad and odd inputs to one part of the project."""

import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field

REFUSALS = (ValueError, TypeError)


@dataclass
class Tally:
    """What became of the inputs to one part.

    Bad input must be refused by an error that names what is wrong. Odd input is valid and must be read as what it is.

    Attributes:
        tried (`int`): Inputs.
        crashes, unclear, accepted, wrong (`list[str]`): Those that failed in another way than by a refusal, whose
            message lacked the name of what is wrong, that were bad and not refused, and that were odd and refused or
            read as something else.
    """

    tried: int = 0
    crashes: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def note(self, case: str, message: str | None, word: str, crashed: bool = False) -> None:
        """Count a bad input.

        Args:
            message (`str` or `None`): Of the refusal; `None` where there was none.
            word (`str`): Regular expression that the message must match somewhere.
        """
        self.tried += 1
        if crashed:
            self.crashes.append(f"{case}: {message}")
        elif message is None:
            self.accepted.append(case)
        elif not re.search(word, message):
            self.unclear.append(f"{case}: {message}")

    def refuse(self, case: str, call: Callable[[], object], word: str, refusals: tuple = REFUSALS) -> None:
        """Count a bad input that `call` uses, which must raise one of `refusals` with a message that `word` matches."""
        try:
            with quiet():
                call()
        except refusals as error:
            self.note(case, str(error), word)
        except Exception as error:
            self.note(case, f"{type(error).__name__}: {error}", word, crashed=True)
        else:
            self.note(case, None, word)

    def answer(self, case: str, call: Callable[[], bool]) -> None:
        """Count an odd input that `call` uses, which must return true."""
        self.tried += 1
        try:
            with quiet():
                right = call()
        except REFUSALS as error:
            self.wrong.append(f"{case}: refused: {error}")
        except Exception as error:
            self.crashes.append(f"{case}: {type(error).__name__}: {error}")
        else:
            if not right:
                self.wrong.append(case)

    def faults(self) -> list[str]:
        """Every input that went wrong, in words."""
        kinds = ("crashes", "unclear", "accepted", "wrong")
        return [f"{kind}: {entry}" for kind in kinds for entry in getattr(self, kind)]


@contextlib.contextmanager
def quiet():
    """Keep what is printed meanwhile; yields the `io.StringIO` that holds it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said
