"""What the API answers when it does not do what it is asked."""

from dataclasses import dataclass, field

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class ApiError(Exception):
    """A Status with a code of 400 or more."""

    code: int
    message: str
    reason: str = ""
    details: dict = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason or REASONS.get(self.code, ""),
            "details": self.details,
            "code": self.code,
        }


def qualified(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def not_found(resource: str, group: str, name: str) -> ApiError:
    details = {"name": name, "group": group, "kind": resource}
    return ApiError(404, f'{qualified(resource, group)} "{name}" not found', details=details)


def conflict(resource: str, group: str, name: str, why: str) -> ApiError:
    what = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return ApiError(409, what, details={"name": name, "group": group, "kind": resource})


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def already_exists(resource: str, group: str, name: str) -> ApiError:
    details = {"name": name, "group": group, "kind": resource}
    what = f'{qualified(resource, group)} "{name}" already exists'
    return ApiError(409, what, "AlreadyExists", details)


def invalid(kind: str, group: str, name: str, problems: list[str]) -> ApiError:
    text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    details = {"name": name, "group": group, "kind": kind}
    return ApiError(422, f'{qualified(kind, group)} "{name}" is invalid: {text}', details=details)


def forbidden(resource: str, group: str, name: str, why: str) -> ApiError:
    what = f'{qualified(resource, group)} "{name}" is forbidden: {why}'
    if not name:
        what = f"{qualified(resource, group)} is forbidden: {why}"
    return ApiError(403, what, details={"name": name, "group": group, "kind": resource})
