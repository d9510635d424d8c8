"""The command line: parses, calls :mod:`mrrecon.commands`, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from mrrecon import __version__
from mrrecon.commands.files import check_files, undeclared
from mrrecon.commands.shared import clock
from mrrecon.commands.words import config_files, nearest, one_sentence_parser, plain_errors
from mrrecon.errors import DataError, MRReconError, PriorError, PriorFailure, SolverError

__all__ = ["main"]

COMMANDS = {  # command -> what it does, in the order of the help
    "info": "Say what is in a k-space file, or how a result was made.",
    "recon": "Reconstruct a volume from a k-space file.",
    "simulate": "Make a k-space file with a known answer from an anatomical volume.",
    "mask": "Make an undersampling mask.",
    "calibrate": "Estimate coil sensitivity maps (ESPIRiT).",
    "extract": "Write one volume of a result: magnitude, phase, expected error, prior influence, deviation.",
    "prior": "List priors, show one, or measure how well they denoise.",
    "train": "Train a diffusion prior on your own volumes.",
    "bench": "Run a study: a grid of files, accelerations, solvers and priors.",
    "report": "Make tables and pictures of a study.",
    "check": "Test this installation: backends, adjointness, CPU/GPU parity.",
    "demo": "Simulate and reconstruct a real head, without and with a diffusion prior.",
}
ACTIONS = {  # command -> action -> what it does; functions COMMAND_ACTION in the command's module
    "prior": {
        "list": "List the priors that are there.",
        "show": "Say what a prior is: settings, training, model card.",
        "evaluate": "Measure how well priors denoise slices, beside methods without training.",
    },
}
DEFAULT_SOLVER = "cg-sense"
WITHOUT_OUTPUT = {"bench", "check", "demo", "prior_evaluate", "report", "train"}  # where --output may be left out


def _command(name: str, action: str | None = None) -> Callable[..., Any]:
    module = importlib.import_module(f"mrrecon.commands.{name}")
    return getattr(module, name if action is None else f"{name}_{action}")


def _class_paths() -> dict[str, str]:
    """Map the names of the solvers (cg-sense) to the class paths that configurations use."""
    from mrrecon.solvers.registry import class_paths

    return class_paths()


def _spell_out_options(arguments: list[str], chosen: str | None) -> list[str]:
    """Let ``--time-budget`` mean ``--time_budget``, and ``--resume`` alone ``--resume=true``; ``--read.NAME`` too."""
    flags: set[str] = set()
    if chosen in COMMANDS and chosen not in ACTIONS:
        flags = {f"--{name}" for name, one in _parameters(_command(chosen)).items() if one.annotation is bool}
    spelled = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, equals, value = argument.partition("=")
        if option.startswith("--"):
            option = "--" + option[2:].replace("-", "_")
        alone = option.startswith("--read.") and (not following or following.startswith("--"))
        if not equals and (alone or (option in flags and following not in ("true", "false"))):
            equals, value = "=", "true"
        spelled.append(option + equals + value)
    return spelled


def _spell_out_solver(arguments: list[str], paths: dict[str, str]) -> list[str]:
    """Let ``--solver cg-sense`` mean the class of that name, and be the default.

    The default stands here, not in the signature: there, its settings would become those of whatever is chosen.
    """
    spelled = list(arguments)
    if not paths:
        return spelled
    if not any(a.partition("=")[0] in ("--solver", "--config") for a in spelled):
        spelled.insert(spelled.index("recon") + 1, f"--solver={DEFAULT_SOLVER}")
    chosen, settings = None, {}
    for i, argument in enumerate(spelled):
        flag, equals, value = argument.partition("=")
        if flag != "--solver" and not flag.startswith("--solver."):
            continue
        place = i if equals else i + 1
        if place == len(spelled):  # no value, for jsonargparse to refuse
            break
        value = value if equals else spelled[place]
        if flag != "--solver":
            settings[flag.removeprefix("--solver.").removeprefix("init_args.")] = _plain_value(value)
        else:
            chosen = value
            spelled[place] = (f"{flag}=" if equals else "") + _solver_path(value, paths)
    if chosen in paths:
        _check_solver(chosen, settings)
    return spelled


def _solver_path(name: str, paths: dict[str, str]) -> str:
    """Class path of a solver's name; class paths stay what they are.

    Raises
    ------
    DataError
        If it is neither.
    """
    if name in paths:
        return paths[name]
    if "." in name or not name.strip():  # a class path, or for jsonargparse to refuse
        return name
    raise DataError(f"There is no solver {name!r}; {nearest(name, paths)}.")


def _check_solver(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings that a solver does not have, or of another type, in one sentence.

    Raises
    ------
    DataError
        With what is wrong.
    """
    from mrrecon import solvers
    from mrrecon.settings import settings_problem

    problem = settings_problem(solvers.get(name), settings)
    if problem:
        raise DataError(f"The solver {name}: {problem}.")


def _plain_value(text: str) -> Any:
    """What a word of the command line means as YAML; itself, if it is none."""
    from jsonargparse import get_loader  # reads 1e-3 as a number, which plain YAML 1.1 does not

    try:
        return get_loader("yaml")(text)
    except Exception:  # the YAML library's own exceptions
        return text


def _yaml_loader(paths: dict[str, str]) -> Callable[..., Any]:
    """Load YAML in which ``solver: cg-sense`` and ``class_path: cg-sense`` mean the class of that name."""
    from jsonargparse import get_loader

    load = get_loader("yaml")

    def load_with_names(text: str, **options: Any) -> Any:
        value = load(text, **options)
        if paths and isinstance(value, dict):
            solver = value.get("solver")
            if isinstance(solver, str):
                value["solver"] = {"class_path": _solver_path(solver, paths)}
            elif isinstance(solver, dict) and isinstance(solver.get("class_path"), str):
                name = solver["class_path"]
                solver["class_path"] = _solver_path(name, paths)
                if name in paths and isinstance(solver.get("init_args", {}), dict):
                    _check_solver(name, solver.get("init_args", {}))
        return value

    return load_with_names


def _parser(chosen: str | None, solver_paths: dict[str, str]) -> Any:
    """Build the parser; only the chosen command is imported, so that ``mrrecon --help`` is quick."""
    from jsonargparse import set_loader

    set_loader("mrrecon", _yaml_loader(solver_paths))
    ArgumentParser = one_sentence_parser()
    parser = ArgumentParser(
        prog="mrrecon",
        description="From a raw k-space file of an accelerated 3D MRI scan to a volume.",
        version=f"mrrecon {__version__}",
        parser_mode="mrrecon",
    )
    commands = parser.add_subcommands(required=True, metavar="COMMAND")
    for name, help_text in COMMANDS.items():
        sub = ArgumentParser(description=help_text, parser_mode="mrrecon")
        commands.add_subcommand(name, sub, help=help_text)
        if name == chosen and name in ACTIONS:
            actions = sub.add_subcommands(required=True, metavar="ACTION", dest="action")
            for action, action_help in ACTIONS[name].items():
                action_sub = ArgumentParser(description=action_help, parser_mode="mrrecon")
                actions.add_subcommand(action, action_sub, help=action_help)
                _add_arguments(action_sub, _command(name, action))
        elif name == chosen:
            _add_arguments(sub, _command(name))
    return parser


def _add_arguments(parser: Any, function: Callable[..., Any]) -> None:
    """Add what a command's function takes; lists are given as words: ``--times 50 100``."""
    from docstring_parser import parse

    parameters = _parameters(function)
    for name, parameter in parameters.items():
        if undeclared(parameter.annotation):
            raise TypeError(f"{function.__name__}: say of {name} whether it names files; see mrrecon.commands.files.")
    helps = {p.arg_name: p.description for p in parse(function.__doc__ or "").params}
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below.")
    if "output" in parameters:
        parser.add_argument(
            "-o",
            "--output",
            type=str,
            nargs="+",
            required=function.__name__ not in WITHOUT_OUTPUT,
            help=helps.get("output"),
        )
    lists = {name: _item_type(p.annotation) for name, p in parameters.items() if name != "output"}
    lists = {name: item for name, item in lists.items() if item is not None}
    for name, item in lists.items():
        default = parameters[name].default
        if default is inspect.Parameter.empty:
            parser.add_argument(name, type=item, nargs="+", help=helps.get(name))
        else:
            parser.add_argument(f"--{name}", type=item, nargs="+", default=default, help=helps.get(name))
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip={"output", *lists})


def _item_type(annotation: Any) -> type | None:
    """Type of the items of ``list[...]`` or ``list[...] | None``; None for anything else."""
    options = [o for o in (get_args(annotation) or ()) if o is not type(None)]
    found = options[0] if get_origin(annotation) is types.UnionType and len(options) == 1 else annotation
    if get_origin(found) is not list:
        return None
    item = get_args(found)[0]
    return get_args(item)[0] if get_origin(item) is Annotated else item


@contextmanager
def _notes() -> Iterator[None]:
    """Print what the readers warn about as one line each, without the place in the code."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is UserWarning:
                print(f"mrrecon: note: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = note
        yield


def _fail(message: str, code: int = 2) -> int:
    print(f"mrrecon: {message}", file=sys.stderr)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: those of the process) and return the exit code.

    0: done. 1: a check failed. 2: the input, the settings or the machine do not allow it; one sentence on standard
    error says what is wrong and what to do. 3: a method or its prior failed while it ran, and its image is not written.
    130: interrupted before there was anything to keep.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    try:
        return _run(given or ["--help"])
    except (MRReconError, PriorError) as error:
        if os.environ.get("MRRECON_DEBUG"):
            raise
        return _fail(str(error), 3 if isinstance(error, (SolverError, PriorFailure)) else 2)
    except MemoryError as error:
        return _fail(
            f"out of memory ({error or 'no size given'}); close other programs, compress the coils with --coils 8, "
            "or reconstruct on a machine with more memory."
        )
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        sys.stdout = None
        return 0
    except KeyboardInterrupt:
        print("mrrecon: interrupted.", file=sys.stderr)
        return 130


def _run(given: list[str]) -> int:
    """Parse, check the files, and run the command."""
    clock.start()
    chosen, action = _chosen(given)
    solver_paths = _class_paths() if chosen == "recon" else {}
    parser = _parser(chosen, solver_paths)
    for path in config_files(given):
        _require_config(path)
    called = " ".join(["mrrecon", *filter(None, (chosen, action))])
    types = {} if chosen is None or (chosen in ACTIONS and action is None) else get_type_hints(_command(chosen, action))
    with plain_errors(called, given, types):
        settings = parser.parse_args(_spell_out_solver(_spell_out_options(given, chosen), solver_paths))
        try:
            settings = getattr(parser, "instantiate", parser.instantiate_classes)(settings)
        except ValueError as error:  # a setting that a solver refuses
            return _fail(str(error))
    chosen_settings = settings[settings.subcommand]
    options = (chosen_settings if action is None else chosen_settings[action]).as_dict()
    command = _command(settings.subcommand, action)
    with _notes():
        options.pop("config", None)
        annotations = {name: parameter.annotation for name, parameter in _parameters(command).items()}
        check_files(annotations, {**options, "config": list(config_files(given))})
        return int(command(**options) or 0)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function, eval_str=True).parameters


def _require_config(path: str) -> None:
    from mrrecon.settings_file import read_settings

    read_settings(path, "one setting")


def _chosen(given: Sequence[str]) -> tuple[str | None, str | None]:
    """The command that is named, and its action, if any.

    Raises
    ------
    DataError
        If there is no such command or action.
    """
    words = [word for word in given if not word.startswith("-")]
    if not words:
        return None, None
    chosen = words[0]
    if chosen not in COMMANDS:
        raise DataError(f"There is no command {chosen!r}; {nearest(chosen, COMMANDS)}.")
    if chosen not in ACTIONS or len(words) < 2:
        return chosen, None
    if words[1] not in ACTIONS[chosen]:
        raise DataError(f"mrrecon {chosen} has no {words[1]!r}; {nearest(words[1], ACTIONS[chosen])}.")
    return chosen, words[1]
