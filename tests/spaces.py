"""Search spaces written short, and the arms that Sobol makes in them."""

from scheduler.generation.protocol import GenerationRequest
from scheduler.generation.sobol import SobolGenerator
from scheduler.generation.space import Space
from scheduler.model.definition import ExperimentDefinition


def define(parameters, constraints=(), **more):
    outcome = {} if more.keys() & {"objective", "objectives"} else {"objective": "-loss"}
    return ExperimentDefinition.model_validate(
        {
            "name": "toy",
            "parameters": parameters,
            "parameter_constraints": constraints,
            "runner": {"command": ["true"]},
            **outcome,
            **more,
        }
    )


def real(name, lower=0.0, upper=1.0, **more):
    return {"name": name, "type": "range", "bounds": [lower, upper], **more}


def whole(name, lower, upper, **more):
    return real(name, lower, upper, parameter_type="int", **more)


def choice(name, values, **more):
    return {"name": name, "type": "choice", "values": values, **more}


def sobol(definition, trials, cursor=0, **more):
    request = GenerationRequest(
        definition, "sobol", 0, trials, more.pop("size", 1), cursor, **more
    )
    return SobolGenerator(Space(definition)).generate(request)


def arms(reply):
    return [dict(p.parameters) for trial in reply.trials for p in trial]
