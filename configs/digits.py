"""Train a small neural network on scikit-learn's digits; write what it is worth to a file.

It reads arguments and writes a JSON file, and knows nothing of who calls it.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev

from sklearn.datasets import load_digits
from sklearn.model_selection import cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5


def main() -> None:
    arguments = parse()
    images, labels = load_digits(return_X_y=True)
    network = MLPClassifier(
        hidden_layer_sizes=(arguments.width1, arguments.width2),
        activation=arguments.activation,
        learning_rate_init=arguments.learning_rate,
        alpha=arguments.alpha,
        max_iter=arguments.epochs,
        random_state=0,
    )
    # Few epochs are a choice, so the warning that more would help says nothing new.
    network.set_params(tol=0.0, n_iter_no_change=arguments.epochs)
    model = make_pipeline(StandardScaler(), network)
    result = cross_validate(model, images, labels, cv=FOLDS, return_estimator=True, n_jobs=1)
    scores = [float(score) for score in result["test_score"]]
    weights = result["estimator"][0][-1].coefs_
    write(
        arguments.out,
        {
            "accuracy": {"mean": fmean(scores), "sem": stdev(scores) / FOLDS**0.5},
            "size_kb": sum(w.nbytes for w in weights) / 1024,
            "fit_seconds": float(result["fit_time"].mean()),
        },
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--alpha", type=float, required=True)
    parser.add_argument("--width1", type=int, required=True)
    parser.add_argument("--width2", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--activation", choices=["relu", "tanh", "logistic"], required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def write(path: Path, metrics: dict[str, object]) -> None:
    """Write beside and rename, so that nobody reads half a file."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(metrics, indent=2))
    beside.rename(path)


if __name__ == "__main__":
    main()
