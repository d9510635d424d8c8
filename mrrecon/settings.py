"""Settings that come as plain values from files and command lines: are they known, and of the right type?"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

__all__ = ["settings_of", "settings_problem", "type_in_words", "value_problem"]


def settings_of(made_by: Any) -> dict[str, inspect.Parameter]:
    """Named parameters of a class or function."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p for name, p in inspect.signature(made_by).parameters.items() if p.kind in named}


def settings_problem(made_by: type, settings: Mapping[str, Any], plain: Mapping[str, Any] | None = None) -> str | None:
    """Say what is wrong with the settings that a class is to be made from, or None.

    Parameters
    ----------
    made_by
        The class; its constructor's annotations say which types are right.
    settings
        Plain JSON values by name.
    plain
        Types that some of them have as plain values, where the class has another.

    >>> class Smooth:
    ...     def __init__(self, strength: float, levels: int = 4) -> None: ...
    >>> settings_problem(Smooth, {"strenght": 1.0})
    "Smooth has no setting 'strenght'; did you mean 'strength'? It has strength, levels"
    >>> settings_problem(Smooth, {"levels": 2})
    "Smooth needs the setting 'strength'"
    >>> settings_problem(Smooth, {"strength": "much"})
    "the setting 'strength' of Smooth must be a number, got 'much'"
    """
    known = settings_of(made_by)
    for name in settings:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}? It has" if close else "it has"
            return f"{made_by.__name__} has no setting {name!r}; {hint} {', '.join(known) or 'none'}"
    for name, parameter in known.items():
        if name not in settings and parameter.default is inspect.Parameter.empty:
            return f"{made_by.__name__} needs the setting {name!r}"
    # of a dataclass, the hints of each base are spelled with the names of its own module
    hints = typing.get_type_hints(made_by if is_dataclass(made_by) else made_by.__init__)  # type: ignore[misc]
    hints |= plain or {}
    for name, value in settings.items():
        problem = value_problem(value, hints.get(name, Any))
        if problem:
            return f"the setting {name!r} of {made_by.__name__} {problem}"
    return None


def value_problem(value: Any, hint: Any) -> str | None:
    """Say what is wrong with a plain value that is to be of a type, or None.

    >>> value_problem("much", float | None)
    "must be a number or null, got 'much'"
    """
    return None if _fits(value, hint) else f"must be {type_in_words(hint)}, got {_short(value)}"


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value can stand for a type: whole numbers for numbers, lists for tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return any(value == option and type(value) is type(option) for option in arguments)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        if not isinstance(value, (list, tuple)):
            return False
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return len(value) == len(arguments) and all(map(_fits, value, arguments))
        return not arguments or all(_fits(item, arguments[0]) for item in value)
    return isinstance(value, origin or hint)


def type_in_words(hint: Any) -> str:
    """Words for a type, as far as JSON has it.

    >>> type_in_words(float | None), type_in_words(list[int])
    ('a number or null', 'a list of a whole number')
    """
    words = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(filter(None, map(type_in_words, arguments))))
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        items = [type_in_words(a) for a in arguments if a is not Ellipsis]
        return f"a list of {', '.join(items)}" if any(items) else "a list"
    return "an object" if origin is dict or hint is dict else words.get(hint, "")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
