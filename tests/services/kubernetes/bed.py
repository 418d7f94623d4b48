"""An experiment on a fake cluster, driven by the real program."""

import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen

from services.kubernetes.cluster import FakeCluster
from sweep.bed import Bed

GIVEN = """
schema: schedd/v1
name: swept
parameters:
  - {name: x, type: range, bounds: [0.0, 1.0]}
objective: "-loss"
trials: {total_trials: 3, max_pending_trials: 2}
failures: {backoff: {initial: 0.1}}
polling: {interval: 0.2}
arms:
  - {name: a, parameters: {x: 0.25}}
  - {name: b, parameters: {x: 0.5}}
  - {name: c, parameters: {x: 0.75}}
runner:
  type: kubernetes
  command:
    - sh
    - -c
    - 'echo "{trial_index} {attempt}" >> NOTES;
       echo "{\\"loss\\": $SCHEDD_PARAM_X}"'
  kubernetes: {image: "busybox:1", kubeconfig: KUBECONFIG}
"""
"""Its metric is told by its output alone; NOTES and KUBECONFIG are filled in."""


class ClusterBed(Bed):
    """A folder with an experiment, beside the cluster on which it runs."""

    def __init__(self, folder: Path, cluster: FakeCluster, text: str = GIVEN) -> None:
        notes = folder / "ran.log"
        text = text.replace("NOTES", str(notes)).replace("KUBECONFIG", str(cluster.kubeconfig))
        super().__init__(folder, text)
        self.stuck = 270
        self.cluster = cluster

    def start(self, verb: str, prefix: Sequence[str] = ()) -> Popen[str]:
        return super().start(verb, [*prefix, sys.executable, "-P", hurry_script()])


def hurry_script() -> str:
    return str(Path(__file__).with_name("hurry.py"))
