"""The page of commands, options and exit codes, from the program itself."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import typer

from rxpipe.cli import messages
from rxpipe.cli.messages import ExitCode
from rxpipe.cli.parser.configs import app

from .markdown import head, table

_SIGNALS = {
    ExitCode.OK: "What the command is for is done.",
    ExitCode.INTERRUPTED: "Ended after Ctrl-C (SIGINT).",
    ExitCode.TERMINATED: "Ended after SIGTERM.",
}


def page() -> str:
    """The text."""
    group: Any = typer.main.get_command(app)
    text = head("Commands", "`rxpipe COMMAND --help` says the same on a terminal.")
    text += f"\n## Exit codes\n\n{table(['Code', 'Means'], exit_codes())}\n## Options of all commands\n\n"
    text += table(["Option", "What it does"], [*_options(group), ("`--help`, `-h`", "Show what there is, and exit.")])
    for name, command in sorted(group.commands.items()):
        if not command.hidden:
            text += _command(name, command)
    return text


def exit_codes() -> list[tuple[str, str]]:
    """Each code with its meaning: what stands below it in the code, or what the signal is."""
    (body,) = [node for node in ast.parse(inspect.getsource(messages)).body if getattr(node, "name", "") == "ExitCode"]
    assert isinstance(body, ast.ClassDef)
    told: dict[str, str] = {}
    for node, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            told[ast.unparse(node.targets[0])] = str(after.value.value)
    return [(f"`{code.value}`", told.get(code.name) or _SIGNALS[code]) for code in ExitCode]


def _command(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join(["rxpipe", name, "[OPTIONS]", *(_usage(one) for one in arguments)])
    text = f"\n## `rxpipe {name}`\n\n```text\n{usage}\n```\n\n{command.help}\n"
    rows = [(f"`{one.metavar or one.name.upper()}`", one.help or "") for one in arguments] + _options(command)
    return f"{text}\n{table(['Argument or option', 'What it does'], rows)}" if rows else text


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = f"{name}..." if argument.nargs == -1 and not name.endswith("...") else name
    return name if argument.required else f"[{name}]"


def _options(command: Any) -> list[tuple[str, str]]:
    return [
        (_names(one), _help(one))
        for one in command.params
        if one.param_type_name == "option" and not one.hidden and "--help" not in one.opts
    ]


def _names(option: Any) -> str:
    value = f" {option.metavar}" if option.metavar and not option.is_flag else ""
    return ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))


def _help(option: Any) -> str:
    text = option.help or ""
    if option.required:
        return f"{text} Required."
    shown = option.show_default and not option.is_flag and option.default not in (None, "", ())
    return f"{text} Default: `{option.default}`." if shown else text
