"""Who may do what: the rules of Roles, and nothing more."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.kubernetes.errors import ApiError, forbidden, qualified


@dataclass
class Rbac:
    """The rights of the one user there is, by namespace."""

    user: str = "system:serviceaccount:schedd:schedd"
    everything: bool = True
    rules: dict[str, list[dict]] = field(default_factory=dict)
    denied: list[str] = field(default_factory=list)
    """What was refused."""

    def grant(self, namespace: str, roles: Iterable[dict]) -> None:
        """Let the user do what ``roles`` (manifests) say in ``namespace``, and nothing else."""
        self.everything = False
        self.rules.setdefault(namespace, []).extend(r for role in roles for r in role["rules"])

    def allows(self, verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
        return self.everything or any(
            _fits(rule.get("verbs"), verb)
            and _fits(rule.get("apiGroups"), group)
            and _fits(rule.get("resources"), resource)
            and (not rule.get("resourceNames") or name in rule["resourceNames"])
            for rule in self.rules.get(namespace, ())
        )

    def check(self, verb: str, group: str, resource: str, namespace: str, name: str) -> None:
        """Raise ApiError 403 where the user may not."""
        if self.allows(verb, group, resource, namespace, name):
            return
        self.denied.append(f"{verb} {resource}")
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        what = f'cannot {verb} resource "{resource}" in API group "{group}" {where}'
        plain, _, sub = resource.partition("/")
        raise forbidden(
            plain + (f"/{sub}" if sub else ""), group, name, f'User "{self.user}" {what}'
        )

    def review(self, body: dict) -> dict:
        """Answer a SelfSubjectAccessReview."""
        asked = (body.get("spec") or {}).get("resourceAttributes")
        if not asked:
            kind = qualified("SelfSubjectAccessReview", "authorization.k8s.io")
            raise ApiError(422, f'{kind} "" is invalid: spec.resourceAttributes: Required value')
        resource = asked.get("resource", "")
        if asked.get("subresource"):
            resource += f"/{asked['subresource']}"
        namespace, name = asked.get("namespace", ""), asked.get("name", "")
        allowed = self.allows(
            asked.get("verb", ""), asked.get("group", ""), resource, namespace, name
        )
        return {**body, "status": {"allowed": allowed}}


def _fits(listed: list[str] | None, wanted: str) -> bool:
    return bool(listed) and (wanted in listed or "*" in listed)
