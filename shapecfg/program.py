"""How click is made to behave like iproute2: endings, names and negative numbers.

Everything that fails is one sentence on standard error and an exit status: 1 usage or no such
device, 2 refused, 3 no daemon. No traceback, no page of usage.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from shapecfg.client import DEFAULT_SOCKET, EXIT_USAGE, CallError
from shapecfg.reply import printable
from shaper.errors import InvalidValue
from shaper.names import check_master_name, check_name
from shaper.output import settle_output

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_INTERRUPTED = 130  # 128 and SIGINT, as shells report it
_NEGATIVE_NUMBER = re.compile(r"-(\d|\.|inf|nan)", re.IGNORECASE)


class Program(click.Group):
    """Ends every command the same way: in silence, or with a sentence and the status due."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command; exit with its status, or return it if not standalone."""
        status = EXIT_USAGE
        _open_streams()
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except CallError as failed:
            status = failed.exit_status
            _complain(str(failed))
        except InvalidValue as refused:
            _complain(str(refused))
        except click.ClickException as mistake:
            _complain(_sentence(mistake))
        except click.Abort:
            status = _INTERRUPTED
        except OSError as unwritten:
            _complain(f"the output cannot be written: {unwritten.strerror}")
        finally:
            settle_output()
        if standalone_mode:
            sys.exit(status)
        return status

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; a colour that is asked for without saying when is always."""
        return super().parse_args(ctx, _with_color(args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, of which a beginning that no other has is enough, as in `ip`.

        Raises InvalidValue, naming what could be meant, if there is none such.
        """
        args = [self._whole(ctx, args[0]), *args[1:]]
        verb = args[0]
        is_option = verb.startswith("-")
        if not (is_option or ctx.resilient_parsing or self.get_command(ctx, verb)):
            verbs = ", ".join(self.list_commands(ctx))
            raise InvalidValue(f"{verb!r} is no command: write {verbs} (or see shapecfg --help)")
        return super().resolve_command(ctx, args)

    def _whole(self, ctx: click.Context, begun: str) -> str:
        """Return the verb that begins so, or what was given if none does."""
        verbs = self.list_commands(ctx)
        found = [verb for verb in verbs if begun and verb.startswith(begun)]
        if begun in verbs or not found:
            return begun
        if len(found) > 1:
            raise InvalidValue(f"{begun!r} can be {', '.join(found)}: write more of it")
        return found[0]


def _with_color(args: list[str]) -> list[str]:
    """Return arguments in which -c, -color and --color before the verb say when."""
    done: list[str] = []
    for index, each in enumerate(args):
        is_value = bool(done) and done[-1] == "--socket"
        if each == "--" or not (each.startswith("-") or is_value):
            return done + args[index:]
        name, has_value, value = each.partition("=")
        is_color = not is_value and name in ("-c", "-color", "--color")
        done.append(f"--color={value if has_value else 'always'}" if is_color else each)
    return done


class TakesNumbers(click.Command):
    """Reads "-5" as a bad value of its argument instead of as an unknown option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """End the options in front of the first negative number."""
        for index, argument in enumerate(args):
            if _NEGATIVE_NUMBER.match(argument):
                return super().parse_args(ctx, [*args[:index], "--", *args[index:]])
        return super().parse_args(ctx, args)


class ShaperName(click.ParamType):  # type: ignore[type-arg] # not generic before click 8.3
    """A name a device can have; completed with the shapers there are."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or raise InvalidValue."""
        return check_name(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Ask the daemon for its shapers."""
        from shapecfg import completion

        socket_path = ctx.find_root().params.get("socket") or DEFAULT_SOCKET
        return _items(completion.shapers(socket_path, incomplete))


class MasterName(ShaperName):
    """A name or altname of a device; completed with the devices of this machine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or raise InvalidValue."""
        return check_master_name(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Ask the kernel for its devices."""
        from shapecfg import completion

        return _items(completion.masters(incomplete))


def _items(words: Iterable[str]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words]


def _open_streams() -> None:
    """Have standard streams where the shell closed them: reading and writing them fails.

    A descriptor that is free would be that of the socket.
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_WRONLY))  # noqa: SIM115 - while the process lives
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _complain(sentence: str) -> None:
    with contextlib.suppress(OSError):  # there is nowhere left to say it
        click.echo(f"shapecfg: {printable(sentence)}", err=True)


def _sentence(mistake: click.ClickException) -> str:
    """Turn click's report of a usage error into one sentence in the style of the others."""
    text = mistake.format_message().rstrip(".")
    text = text[:1].lower() + text[1:]
    context = mistake.ctx if isinstance(mistake, click.UsageError) else None
    if context is None:
        return text
    known = _options(context.find_root().command)
    if isinstance(mistake, click.NoSuchOption) and context.parent and mistake.option_name in known:
        return f"{text} (options go before the verb: shapecfg -s show)"
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
    return f"{text} (usage: {usage})"


def _options(command: click.Command) -> list[str]:
    return [option for parameter in command.params for option in parameter.opts]
