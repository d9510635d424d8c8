"""What people type that cannot be understood, answered in one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mrrecon.errors import DataError, MRReconError
from mrrecon.settings import type_in_words

__all__ = ["NotUnderstood", "config_files", "nearest", "one_sentence_parser", "plain_errors"]

OUTPUT = "--output (or -o), where to write"


class NotUnderstood(DataError):
    """Words that the parser refuses, with the parser's own text."""

    def __init__(self, text: str, options: Collection[str]) -> None:
        super().__init__(text)
        self.options = options


def nearest(word: str, known: Collection[str]) -> str:
    """Say which of the known words may have been meant, and all of them.

    >>> nearest("recno", ["info", "recon"]), nearest("magic", ["info", "recon"])
    ("did you mean 'recon'? There are info, recon", 'choose one of info, recon')
    """
    close = difflib.get_close_matches(word, known, 1)
    return f"{f'did you mean {close[0]!r}? There are' if close else 'choose one of'} {', '.join(known)}"


def one_sentence_parser() -> type[Any]:
    """Class of parsers that raise what is wrong instead of printing how they are used."""
    from jsonargparse import ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> Any:
            if isinstance(ex, MRReconError):
                raise ex
            raise NotUnderstood(message, [option for option in self._option_string_actions if option.startswith("--")])

    return Parser


def config_files(given: Sequence[str]) -> Iterator[str]:
    """Files named by ``--config``."""
    for word, following in zip(given, [*given[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == "--config" and (equals or following):
            yield value if equals else following


@contextmanager
def plain_errors(called: str, given: Sequence[str], types: Mapping[str, Any]) -> Iterator[None]:
    """Put what the parser refuses of the words `given` to a command in words that people understand.

    It is `called` ``"mrrecon recon"``, for example; `types` are those of its arguments by name.
    """
    try:
        yield
    except NotUnderstood as error:
        said = _said(" ".join(str(error).split()), called, given, types, error.options)
        raise DataError(f"{said} ({called} --help tells more).") from error


def _said(text: str, called: str, given: Sequence[str], types: Mapping[str, Any], options: Collection[str]) -> str:
    unknown = re.search(r"unrecognized arguments: (.*)", text, re.IGNORECASE)
    if unknown:
        return _unknown(unknown[1].split(), called, given, options)
    setting = re.search(r"does not accept option '([^']+)'", text)
    if setting:
        return f"{called} has no setting {setting[1]!r}, which a file of settings gives; {nearest(setting[1], types)}"
    needs = re.search(r'expected "[^"]+" to be one of \{([^}]*)\}', text)
    if needs:
        return f"{called} needs one of {', '.join(needs[1].split(','))}"
    missing = re.search(r"arguments are required: (.*)", text)
    if missing:
        names = [_name(name.strip(), types) for name in missing[1].split(",")]
        return f"{called} needs {' and '.join(OUTPUT if name == 'output' else name for name in reversed(names))}"
    value = re.search(r'[Kk]ey "([^"]+)":? (.*)', text)
    if value:
        name, got = _name(value[1], types), re.search(r"(?:Given|Got) value: (.*)$", value[2])
        if name in types and got:
            return f"--{name} must be {type_in_words(types[name]).removesuffix(' or null')}, got {got[1].rstrip('.')}"
        return f"{name}: {value[2].rstrip('.')}"
    return text.rstrip(".")


def _name(key: str, types: Mapping[str, Any]) -> str:
    """Name of an argument without those of the commands before it."""
    words = key.split(".")
    start = next((i for i, word in enumerate(words) if word in types), 0)
    return ".".join(words[start:])


def _unknown(words: list[str], called: str, given: Sequence[str], options: Collection[str]) -> str:
    """Of words that are left over: an option that is not there, or a word too many."""
    name = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
    if name is None:
        return f"{called} does not know what to do with {words[0]!r}"
    typed = (word.partition("=")[0] for word in given)
    typed_as = next((word for word in typed if word.replace("-", "_") == name.replace("-", "_")), name)
    close = _reader_option(name, options) or difflib.get_close_matches(name, options, 1, 0.5)
    return f"{called} has no option {typed_as}" + (f"; did you mean {close[0]}?" if close else "")


def _reader_option(name: str, options: Collection[str]) -> list[str]:
    """The option for reading that may have been meant, of a command that reads k-space."""
    from mrrecon import io

    if "--read" not in options:
        return []
    known = {option for one in io.formats().values() if one.read is not None for option in io.reader_options(one)}
    close = difflib.get_close_matches(name.removeprefix("--"), known, 1, 0.8)
    return [f"--read.{close[0]}"] if close else []
