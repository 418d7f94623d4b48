"""What ``schedd init`` writes: an experiment and the script it tunes. Both run as they are."""

EXPERIMENT = """\
# yaml-language-server: $schema=experiment.schema.json
# The line above completes and checks this file in editors, after:
#   schedd schema > experiment.schema.json
# Check it with: schedd validate {file}    Run it with: schedd run {file}
schema: schedd/v1
name: {name}                             # a-z, 0-9 and -; names the experiment for ever

# What is searched. Parameters are of type range, choice or fixed.
parameters:
  - {{name: lr, type: range, bounds: [1e-4, 1.0], scaling: log}}
  - {{name: layers, type: range, parameter_type: int, bounds: [1, 8]}}
  - {{name: optimizer, type: choice, values: [sgd, adam]}}
  - {{name: epochs, type: fixed, value: 10}}
# parameter_constraints: ["2 * warmup <= epochs"]     # linear, on range parameters

# What is wanted: "-loss" minimizes loss, "accuracy" would maximize accuracy.
objective: "-loss"
# outcome_constraints: ["latency_ms <= 50"]

# Where the value is read: by default in metrics.jsonl in the trial's folder, to which a trial
# appends lines such as {{"step": 3, "loss": 0.1}}, or calls: schedd record loss=0.1 --step 3
metrics:
  loss: {{fetcher: {{type: jsonl}}, reduce: last, available_while_running: true}}

# How much may be spent. Raise total_trials later, run the file again, and it goes on.
trials: {{total_trials: 15, max_pending_trials: 4, ttl: 1h}}
stopping_criteria:
  goal: {{metric: loss, value: 0.0005}}    # good enough: stop early
failures:
  retries: {{error: 0, infra: 5}}          # a failed command is not tried again, a lost one is

# How a trial runs. {{params.x}} is a parameter, {{trial_dir}} the trial's own folder; the command
# starts in the folder of this file. It finds the same in $SCHEDD_PARAM_LR, $SCHEDD_TRIAL_DIR ...
runner:
  type: local
  command: [python3, {script}, --lr, "{{params.lr}}", --layers, "{{params.layers}}",
            --optimizer, "{{params.optimizer}}", --epochs, "{{params.epochs}}"]
"""

SCRIPT = '''\
"""Stands in for a training: replace it with your own."""

import argparse
import json
import math
import os

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--layers", type=int, required=True)
parser.add_argument("--optimizer", required=True)
parser.add_argument("--epochs", type=int, required=True)
options = parser.parse_args()

best = -1.5 if options.optimizer == "adam" else -0.5
floor = 0.05 * (math.log10(options.lr) - best) ** 2 + 0.02 * (options.layers - 4) ** 2
with open(os.path.join(os.environ["SCHEDD_TRIAL_DIR"], "metrics.jsonl"), "a") as file:
    for epoch in range(1, options.epochs + 1):
        loss = floor + math.exp(-epoch)
        print(f"epoch {epoch}: loss {loss:.4f}")
        print(json.dumps({"step": epoch, "loss": loss}), file=file, flush=True)
'''
