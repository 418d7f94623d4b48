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


def hide() -> None:
    """Let processes that we start from now on not see that systemd is there."""
    for name in _OURS:
        os.environ.pop(name, None)


def notifier() -> Callable[[str], None]:
    """Return what tells systemd something, see sd_notify(3); without systemd it does nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
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
