"""Run a Python script with a Kubernetes runner that polls many times a second.

``python hurry.py /path/of/schedd run e.yaml``: for tests of the whole program, in which the
pause that spares a real server would be most of the time.
"""

import runpy
import sys

from runners.kube import api
from runners.kubernetes import KubernetesRunner

KubernetesRunner.poll_floor = 0.1
api._AGAIN = (0.05, 0.05)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
