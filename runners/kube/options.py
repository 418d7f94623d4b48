"""The section ``kubernetes:`` of the YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from runners.base import RunnerOptions
from runners.kube import template
from runners.units import Duration, Size


class Volume(BaseModel):
    """One volume of the trial's container; exactly one source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mount: str = Field(pattern=r"^/[^:]+$")
    """The absolute path in the container."""
    claim: str | None = None
    """A PersistentVolumeClaim."""
    secret: str | None = None
    config_map: str | None = None
    sub_path: str | None = None
    read_only: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> "Volume":
        if sum(map(bool, (self.claim, self.secret, self.config_map))) != 1:
            raise ValueError("give one of claim, secret and config_map")
        return self

    @property
    def source(self) -> dict[str, Any]:
        """Return the source as a Pod has it."""
        if self.claim:
            read_only = {"readOnly": True} if self.read_only else {}
            return {"persistentVolumeClaim": {"claimName": self.claim, **read_only}}
        if self.secret:
            return {"secret": {"secretName": self.secret}}
        return {"configMap": {"name": self.config_map}}


class KubernetesOptions(RunnerOptions):
    """Which cluster, and what every Job of this experiment has."""

    same_disk: ClassVar[bool] = False

    kubeconfig: str | None = None
    """Default: ``KUBECONFIG``, ``~/.kube/config``, or in a cluster the Pod's service account."""
    context: str | None = None
    """Default: the current one."""
    namespace: str | None = None
    """Default: the context's, or in a cluster the Pod's."""
    image: str | None = None
    """May be left out where ``template`` has one."""
    service_account: str | None = None
    """The trial's; without it the trial gets no token of the cluster."""
    run_as_user: int | None = Field(default=None, ge=1)
    """For images that would run as root, which the default security profile forbids."""
    queue: str | None = None
    """Kueue's LocalQueue."""
    gpu_resource: str = "nvidia.com/gpu"
    env_secrets: tuple[str, ...] = ()
    """Secrets whose keys become environment variables."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    volumes: tuple[Volume, ...] = ()
    template: dict[str, Any] | None = None
    """A Job or Pod, or a file that holds one; it is merged under what schedd sets."""
    start_grace: Duration = 120.0
    """How long a container that cannot start (no such image, say) is given to start after all."""
    ttl_after_finished: Duration = 0.0
    """How long an ended Job stays, once its outcome and output are here; until then it counts in
    quotas."""
    keep_failed: bool = False
    """Leave failed Jobs where they are, for ``kubectl describe``."""
    output_limit: Size = Field(default=256 << 20, ge=4096)
    """For each task's stdout.log."""
    request_timeout: Duration = Field(default=15.0, gt=0)
    """For each request to the server."""

    @field_validator("template", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        return template.read(Path(value)) if isinstance(value, str) else value

    @field_validator("template")
    @classmethod
    def _is_sound(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            template.parts(value)
        return value

    @model_validator(mode="after")
    def _has_an_image(self) -> "KubernetesOptions":
        if not self.image and not template.image(self.template or {}):
            raise ValueError("image is missing: the container image in which trials run")
        return self

    @classmethod
    def located(cls, section: Any, folder: Path) -> Any:
        """Return the section with its files read, or made absolute: they may change or move."""
        if not isinstance(section, Mapping):
            return section
        found = dict(section)
        if isinstance(found.get("template"), str):
            found["template"] = template.read(folder / Path(found["template"]).expanduser())
        if isinstance(found.get("kubeconfig"), str):
            found["kubeconfig"] = str(folder / Path(found["kubeconfig"]).expanduser())
        return found
