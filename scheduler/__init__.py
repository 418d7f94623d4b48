"""schedd: closed-loop experiments, from one YAML file to a tuned model.

What is here is for Python programs; each name is imported when it is used. See docs/python.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scheduler.python.arms import (
        Arm,
        GenerationNode,
        GenerationStep,
        GenerationStrategy,
        GeneratorRun,
        TrialStatus,
        choose_generation_strategy,
    )
    from scheduler.python.client import Client
    from scheduler.python.errors import (
        Busy,
        EvaluationsFailed,
        FolderTaken,
        MaxParallelismReached,
        MetricFetchError,
        ModelError,
        NoTrialAvailable,
        ObjectNotFoundError,
        OptimizationComplete,
        ScheddError,
        StorageFailed,
        UnsupportedError,
        UserInputError,
    )
    from scheduler.python.experiment import Experiment
    from scheduler.python.generators import Generators, Models
    from scheduler.python.goals import (
        ComparisonOp,
        MultiObjective,
        MultiObjectiveOptimizationConfig,
        Objective,
        ObjectiveThreshold,
        OptimizationConfig,
        OutcomeConstraint,
        PercentileEarlyStoppingStrategy,
    )
    from scheduler.python.loop import Optimized, optimize
    from scheduler.python.metric import (
        Data,
        Err,
        Metric,
        MetricFetchE,
        Ok,
        Runner,
        SyntheticRunner,
    )
    from scheduler.python.orchestrator import Scheduler, SchedulerOptions
    from scheduler.python.space import (
        ChoiceParameter,
        ChoiceParameterConfig,
        DerivedParameter,
        FixedParameter,
        OrderConstraint,
        ParameterConstraint,
        ParameterType,
        RangeParameter,
        RangeParameterConfig,
        SearchSpace,
        SumConstraint,
    )
    from scheduler.python.trial import BaseTrial, BatchTrial, Trial
    from scheduler.python.words import ObjectiveProperties

__all__ = [
    "Arm",
    "BaseTrial",
    "BatchTrial",
    "Busy",
    "ChoiceParameter",
    "ChoiceParameterConfig",
    "Client",
    "ComparisonOp",
    "Data",
    "DerivedParameter",
    "Err",
    "EvaluationsFailed",
    "Experiment",
    "FixedParameter",
    "FolderTaken",
    "GenerationNode",
    "GenerationStep",
    "GenerationStrategy",
    "GeneratorRun",
    "Generators",
    "MaxParallelismReached",
    "Metric",
    "MetricFetchE",
    "MetricFetchError",
    "ModelError",
    "Models",
    "MultiObjective",
    "MultiObjectiveOptimizationConfig",
    "NoTrialAvailable",
    "ObjectNotFoundError",
    "Objective",
    "ObjectiveProperties",
    "ObjectiveThreshold",
    "Ok",
    "OptimizationComplete",
    "OptimizationConfig",
    "Optimized",
    "OrderConstraint",
    "OutcomeConstraint",
    "ParameterConstraint",
    "ParameterType",
    "PercentileEarlyStoppingStrategy",
    "RangeParameter",
    "RangeParameterConfig",
    "Runner",
    "ScheddError",
    "Scheduler",
    "SchedulerOptions",
    "SearchSpace",
    "StorageFailed",
    "SumConstraint",
    "SyntheticRunner",
    "Trial",
    "TrialStatus",
    "UnsupportedError",
    "UserInputError",
    "choose_generation_strategy",
    "optimize",
]
_NAMES = {
    "client": "Client",
    "errors": (
        "Busy EvaluationsFailed FolderTaken MaxParallelismReached MetricFetchError ModelError "
        "NoTrialAvailable ObjectNotFoundError OptimizationComplete ScheddError "
        "StorageFailed UnsupportedError UserInputError"
    ),
    "experiment": "Experiment",
    "generators": "Generators Models",
    "loop": "Optimized optimize",
    "metric": "Data Err Metric MetricFetchE Ok Runner SyntheticRunner",
    "arms": (
        "Arm GenerationNode GenerationStep GenerationStrategy GeneratorRun TrialStatus "
        "choose_generation_strategy"
    ),
    "goals": (
        "ComparisonOp MultiObjective MultiObjectiveOptimizationConfig Objective "
        "ObjectiveThreshold OptimizationConfig OutcomeConstraint "
        "PercentileEarlyStoppingStrategy"
    ),
    "space": (
        "ChoiceParameter ChoiceParameterConfig DerivedParameter FixedParameter "
        "OrderConstraint ParameterConstraint ParameterType RangeParameter "
        "RangeParameterConfig SearchSpace SumConstraint"
    ),
    "orchestrator": "Scheduler SchedulerOptions",
    "trial": "BaseTrial BatchTrial Trial",
    "words": "ObjectiveProperties",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}
"""Where each name is at home, in ``scheduler.python``."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"scheduler.python.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
