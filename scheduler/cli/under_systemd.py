"""What a service manager gives us, and what it wants to hear. None of it is for our children."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import click

_OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY")


def credential(name: str) -> str:
    """Return a credential of this service; empty where there is none. See LoadCredential=."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return ""
    try:
        return Path(folder, name).read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""


def notifier() -> Callable[[str], None]:
    """Return what tells systemd something, see sd_notify(3); without systemd it does nothing.

    From now on processes that we start do not see that systemd is there.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    for name in _OURS:
        os.environ.pop(name, None)
    if address.startswith("@"):
        address = f"\0{address[1:]}"

    def notify(text: str) -> None:
        if not address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            try:
                out.sendto(text.encode(), address)
            except OSError as error:
                click.echo(f"systemd cannot be told {text}: {error.strerror}", err=True)

    return notify
