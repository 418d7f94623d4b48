"""Credentials and connections, as the official client of Kubernetes finds and keeps them.

It is imported here alone, and only when a server is to be asked.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any, TypeVar, cast

import yaml

from runners.base import Unavailable

T = TypeVar("T")
INSTALL = 'install the client of Kubernetes: pip install "schedd[kubernetes]"'
_KUBECONFIG = "~/.kube/config"
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LOGIN_TIME = 30.0
"""Seconds for the programs that a kubeconfig names to get credentials."""
_SLOW = (
    "the program that gets the credentials of Kubernetes, named by its kubeconfig, does not end"
)
_BROKEN_CLIENT = "36.0.0"
"""This release of the client sends no credentials."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One server, as one user sees it."""

    settings: Any
    """The client's configuration."""
    pool: Any
    """The client's urllib3.PoolManager."""
    namespace: str
    current_context: str | None
    """The kubeconfig's current context, where none was named."""

    @property
    def host(self) -> str:
        """The server's address."""
        return str(self.settings.host)

    def credentials(self) -> dict[str, str]:
        """Return the headers that say who asks, renewed where they have expired.

        Raises what the programs of the kubeconfig, which run here, lead to.
        """
        found = self.settings.auth_settings().values()
        return {each["key"]: each["value"] for each in found if each["value"]}


class Patience:
    """Calls what may never return, for so long; programs that log in have no limit of their own.

    What did not return goes on in a thread of its own, and nothing else is called meanwhile.
    """

    def __init__(self, seconds: float = LOGIN_TIME) -> None:
        self._seconds = seconds
        self._late: threading.Thread | None = None
        """The one that has not returned in time."""

    def call(self, what: Callable[[], T]) -> T:
        """Return what ``what`` returns. Raises Unavailable where it raises, or takes too long."""
        if self._late is not None and self._late.is_alive():
            raise Unavailable(_SLOW)
        outcome: Queue[tuple[T | None, Exception | None]] = Queue()

        def work() -> None:
            try:
                outcome.put((what(), None))
            except Exception as error:  # programs of the kubeconfig run here
                outcome.put((None, error))

        thread = threading.Thread(target=work, daemon=True, name="login")
        thread.start()
        try:
            found, error = outcome.get(timeout=self._seconds)
        except Empty:
            self._late = thread
            raise Unavailable(_SLOW) from None
        if error is not None:
            raise _unusable(error) from None
        return cast(T, found)


class Login:
    """Which server, user and namespace; it keeps to one context when the current one changes."""

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str | None) -> None:
        """Do no I/O."""
        self._kubeconfig = kubeconfig
        self._context = context
        self._namespace = namespace
        self._current: str | None = None
        self._patience = Patience()

    def connect(self) -> Connection:
        """Read the configuration. Raises Unavailable with what to do where there is none."""
        client, config = _library()
        return self._patience.call(lambda: self._connect(client, config))

    def credentials(self, connection: Connection) -> dict[str, str]:
        """Return the headers that say who asks. Raises Unavailable where they cannot be had."""
        if getattr(connection.settings, "refresh_api_key_hook", None) is None:
            return connection.credentials()
        return self._patience.call(connection.credentials)

    def _connect(self, client: Any, config: Any) -> Connection:
        settings = client.Configuration()
        settings.retries = False
        if self._is_in_cluster():
            config.load_incluster_config(client_configuration=settings)
            own = (_IN_CLUSTER / "namespace").read_text(encoding="utf-8").strip()
        else:
            own = self._choose_context()
            config.load_kube_config(self._file(), self._context, settings)
        pool = client.ApiClient(settings).rest_client.pool_manager
        return Connection(settings, pool, self._namespace or own, self._current)

    def _is_in_cluster(self) -> bool:
        """Whether only the Pod's own service account tells of a cluster."""
        told = self._kubeconfig or self._context or os.environ.get("KUBECONFIG")
        own = Path(_KUBECONFIG).expanduser().exists()
        return not (told or own) and (_IN_CLUSTER / "token").exists()

    def _file(self) -> str:
        """Return the kubeconfig's path, or several with colons between them."""
        return self._kubeconfig or os.environ.get("KUBECONFIG") or _KUBECONFIG

    def _choose_context(self) -> str:
        """Choose the current context where none was named or chosen; return its namespace.

        The client's own list of contexts wants a current one even where another is named.
        Raises ValueError with a sentence where there is no such context.
        """
        contexts, current = _contexts(self._file())
        there = f"{self._file()} has {', '.join(contexts) or 'none'}"
        if self._context is None:
            if not current:
                hint = "write kubernetes: {context: NAME}"
                raise ValueError(f"none of its contexts is the current one; {hint}; {there}")
            self._context = self._current = current
        if self._context not in contexts:
            raise ValueError(f"there is no context {self._context!r}; {there}")
        return contexts[self._context]


def _contexts(files: str) -> tuple[dict[str, str], str]:
    """Return the namespace of each context, and the current context, of one file or several.

    What several say, the first one says. Raises ValueError where there is no file, OSError and
    what YAML raises.
    """
    paths = [Path(name).expanduser() for name in files.split(os.pathsep) if name]
    found = [yaml.safe_load(path.read_bytes()) or {} for path in paths if path.exists()]
    if not found:
        raise ValueError(f"there is no file {files}")
    contexts: dict[str, str] = {}
    for each in (each for said in found for each in said.get("contexts") or []):
        namespace = (each.get("context") or {}).get("namespace")
        contexts.setdefault(str(each["name"]), str(namespace or "default"))
    return contexts, str(next(filter(None, (said.get("current-context") for said in found)), ""))


def _library() -> tuple[Any, Any]:
    """Return the client's modules. Raises Unavailable with what to do where there are none."""
    try:
        import kubernetes
        from kubernetes import client, config
    except ImportError:
        raise Unavailable(INSTALL) from None
    if kubernetes.__version__ == _BROKEN_CLIENT:
        raise Unavailable(f"kubernetes {_BROKEN_CLIENT} sends no credentials; {INSTALL}")
    return client, config


def _unusable(error: Exception) -> Unavailable:
    text = " ".join(str(error).split()) or type(error).__name__
    return Unavailable(f"no configuration of Kubernetes can be used: {text}")
