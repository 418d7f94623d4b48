"""The description of the API, OpenAPI 3.1, made from the table and the models."""

import json
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from scheduler.http.bodies import Problem, experiment_schema
from scheduler.http.routes import INDEX, NAME, ROUTES, Route
from scheduler.python.problems import CONTENT

REQUEST_KEY = r"[A-Za-z0-9._~-]{8,64}"
"""What a request may be called by its caller."""
_Mode = Literal["validation", "serialization"]
_AT = "#/components/schemas/"
_REFUSED = {
    400: "It is no request that can be read.",
    401: "The token is missing, or another one.",
    403: "A page of another origin asks.",
    404: "There is no such experiment, trial or arm.",
    405: "This cannot be done to it.",
    409: "As things stand there is none: no trial, or no model.",
    413: "The body is longer than 1 MiB.",
    415: "The body is no application/json.",
    421: "The server does not go by this name.",
    422: "It makes no sense, or none as things stand; nothing was done.",
    500: "The database cannot be used, or there is a bug; what is stored is safe.",
    503: "Somebody else drives the experiment, or it takes long: ask again.",
}


def description(version: str, *, with_token: bool) -> dict[str, Any]:
    """Return the description; ``with_token``: whether the server asks for one."""
    said: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "schedd",
            "version": version,
            "description": "Trials for programs of any language. A trial that was handed out is "
            "found again by the Idempotency-Key of its request, or among those that are RUNNING.",
        },
        "paths": {},
        "components": {"schemas": _schemas()},
    }
    for route in ROUTES:
        said["paths"].setdefault(route.path, {})[route.method.lower()] = _operation(route)
    if with_token:
        said["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        said["security"] = [{"token": []}]
    return said


def _schemas() -> dict[str, Any]:
    wanted: list[tuple[type[BaseModel], _Mode]] = [(Problem, "serialization")]
    for route in ROUTES:
        wanted += [(route.answer, "serialization")]
        wanted += [(route.body, "validation")] if route.body else []
    _, found = models_json_schema(wanted, ref_template=_AT + "{model}")
    experiment = json.loads(json.dumps(experiment_schema()).replace("#/$defs/", _AT))
    parts = experiment.pop("$defs")
    schemas: dict[str, Any] = {**parts, **found["$defs"], "NewExperiment": experiment}
    used = _used(schemas, [route.answer.__name__ for route in ROUTES])
    used |= _used(schemas, [route.body.__name__ for route in ROUTES if route.body])
    used |= _used(schemas, ["NewExperiment", "Problem"])
    return {name: schemas[name] for name in sorted(used)}


def _used(schemas: dict[str, Any], names: list[str]) -> set[str]:
    """Return ``names``, and those of all that they are made of."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            text = json.dumps(schemas[name])
            names += [other for other in schemas if f'"{_AT}{other}"' in text]
    return found


def _operation(route: Route) -> dict[str, Any]:
    answer = {"schema": {"$ref": _AT + route.answer.__name__}}
    refused = {"schema": {"$ref": _AT + "Problem"}}
    said: dict[str, Any] = {
        "operationId": route.handle.__name__,
        "summary": route.summary,
        "parameters": [*_of_path(route), *_of_query(route), *_of_headers(route)],
        "responses": {
            str(route.status): {"description": "Done.", "content": {"application/json": answer}}
        },
    }
    for status, why in _REFUSED.items():
        said["responses"][str(status)] = {"description": why, "content": {CONTENT: refused}}
    said["responses"]["503"]["headers"] = {
        "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
    }
    if route.body or route.takes_experiment:
        name = route.body.__name__ if route.body else "NewExperiment"
        content = {"application/json": {"schema": {"$ref": _AT + name}}}
        said["requestBody"] = {"required": True, "content": content}
    return said


def _of_path(route: Route) -> list[dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = {
        "name": {"type": "string", "pattern": f"^{NAME}$"},
        "index": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    }
    assert INDEX.endswith("{0,8})")
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in schemas.items()
        if f"{{{name}}}" in route.path
    ]


def _of_query(route: Route) -> list[dict[str, Any]]:
    found = route.query.model_json_schema(ref_template=_AT + "{model}")
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in found.get("properties", {}).items()
    ]


def _of_headers(route: Route) -> list[dict[str, Any]]:
    if route.method == "GET" or route.takes_experiment:
        return []
    return [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "A name of this request, new for each: the same one again does "
            "nothing twice, and has the same trial.",
            "schema": {"type": "string", "pattern": f"^{REQUEST_KEY}$"},
        }
    ]
