"""The verb of the door over HTTP: serve."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from scheduler.cli import common, under_systemd
from scheduler.cli.common import address
from scheduler.cli.refused import Refused
from scheduler.python.session import Place

DEFAULT_SOCKET = "schedd.sock"
TOKEN_FILE = "schedd.token"  # noqa: S105  # its name, not what is in it


@click.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help=f"Listen on a Unix socket that you alone can use; by default {DEFAULT_SOCKET} here.",
)
@click.option("--listen", metavar="HOST:PORT", help="Listen on a port, 127.0.0.1:8321, instead.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"Where the token is, which is made on first use; on a port, {TOKEN_FILE} here.",
)
@click.option(
    "--behind-tls",
    "proxies",
    multiple=True,
    metavar="NAME",
    help="A proxy with TLS stands before it and goes by NAME; only then may HOST be any.",
)
@common.storage_option
def serve(
    path: Path | None,
    listen: str | None,
    token_file: Path | None,
    proxies: tuple[str, ...],
    storage: str | None,
) -> None:
    """Let programs ask for trials over HTTP.

    They make external experiments, ask for trials, carry them out and tell what came of them;
    no command is started here. Whoever may connect may do all of that to every experiment in the
    store. On a port a token is asked for. Ends at SIGTERM and Ctrl-C. See docs/http.md.
    """
    if path and listen:
        raise click.UsageError("--socket goes without --listen")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # models take one thread, whoever else asks
    os.umask(0o077)
    make_app, run = _server()
    from scheduler.http.guard import NoToken, guard_of, token_in

    store = common.opened(common.storage_url(storage), create=True)
    under_systemd.hide()
    try:
        with _listening(path or Path(DEFAULT_SOCKET), listen, proxies) as (listening, name, said):
            token = token_in(token_file or Path(TOKEN_FILE)) if listen or token_file else None
            app = make_app(Place(store.url, store), guard_of([*name], proxies, token))
            run(
                app,
                listening,
                (signal.SIGTERM, signal.SIGINT),
                lambda: click.echo(f"serves {store.url} at {said}", err=True),
            )
    except NoToken as error:
        raise Refused(str(error)) from None
    finally:
        store.close()


def _server() -> Any:
    """Return the application and what runs it. Raises Refused where the extra is missing."""
    try:
        from scheduler.http.app import App
        from scheduler.http.serve import run
    except ModuleNotFoundError as error:
        if error.name != "waitress":
            raise
        raise Refused("serve needs waitress: pip install 'schedd[http]'") from None
    return App, run


@contextmanager
def _listening(
    path: Path, listen: str | None, proxies: tuple[str, ...]
) -> Iterator[tuple[socket.socket, tuple[str, ...], str]]:
    """Yield a socket, the names by which a Host may call it, and where it is for people."""
    from scheduler.http.serve import NoSocket, at_path, on_port

    if listen:
        host, port = _address(listen, proxies)
        with on_port(host, port) as listening:
            shown = f"[{host}]" if ":" in host else host
            port = listening.getsockname()[1]
            yield listening, (f"{shown}:{port}", f"localhost:{port}"), f"http://{shown}:{port}"
        return
    try:
        listening = at_path(path)
    except NoSocket as error:
        raise Refused(str(error)) from None
    made = path.lstat()
    try:
        with listening:
            yield listening, ("localhost",), f"unix://{path.absolute()}"
    finally:
        with suppress(FileNotFoundError):
            if os.path.samestat(made, path.lstat()):
                path.unlink()


def _address(text: str, proxies: tuple[str, ...]) -> tuple[str, int]:
    from scheduler.http.serve import loopback

    host, port = address(text, "--listen", "127.0.0.1:8321")
    host = "127.0.0.1" if host == "localhost" else host
    if not proxies and not loopback(host):
        raise Refused(
            f"--listen {text} can be reached from other machines, and the token be read on its "
            "way: let a proxy with TLS stand before it, and name it by --behind-tls"
        )
    return host, port
