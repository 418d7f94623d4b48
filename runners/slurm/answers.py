"""What sbatch's answer means: a job, a refusal for good, one for now, or anybody's guess. Pure."""

import re

from runners.base import Rejected, Unavailable
from runners.slurm.call import RETRIES, Answer

_ID = re.compile(r"(\d+)(;[\w.-]+)?")
_REFUSED = re.compile(r"(?:Batch job submission failed|allocation failure): (.*)")
_BAD_USE = re.compile(
    r"unrecognized option|option .*(requires|doesn't allow)|ambiguous|invalid|not a valid"
    r"|This does not look like a batch script|mutually exclusive|Unable to open file",
    re.IGNORECASE,
)
"""sbatch itself complains, before it has asked the controller."""
_NO_WORD = re.compile(
    r"timed out|time ?out|unable to contact|connect|send failure|receive failure|zero bytes"
    r"|unexpected message|message length|header lengths|protocol|authentication|incompatible"
    r"|communication|temporarily|standby|reconfigur|i/o error|no space|unspecified",
    re.IGNORECASE,
)
"""A message that may have been lost on either way."""
_FULL = re.compile(r"MaxSubmit|GrpSubmit|MaxJobCount|too many|maximum .*jobs", re.IGNORECASE)
"""No room for so many."""
_POLICY = re.compile(r"violates accounting/QOS policy")
_NAMED = re.compile(r"(Assoc|QOS)(Max|Grp|Min)\w+")
"""A limit by its name; one that is no limit of submissions is there to stay."""
_NOT_NOW = re.compile(
    r"not available now|down, drained or reserved|maintenance|in drain state", re.IGNORECASE
)


class Full(Unavailable):
    """Slurm did not take the job for certain, and may take it later."""


class AtLimit(Full):
    """Slurm did not take so many jobs; it may take fewer."""


class Crowded(Unavailable):
    """Slurm had no room for so many when it last said anything; it may have taken them since."""


class TooLarge(Rejected):
    """This array is larger than the cluster allows."""


def read(answer: Answer) -> str | Rejected | Unavailable:
    """Return the id of the new job, or why there is none; plain Unavailable: there may be one."""
    ids = [match[1] for line in answer.out.split("\n") if (match := _ID.fullmatch(line.strip()))]
    if answer.status == 0 and ids:
        return ids[-1]
    sentence = f"sbatch: {re.sub(r'sbatch: (error: )?', '', answer.sentence)}"
    if not ids and RETRIES.search(answer.err):
        return Crowded(sentence)
    if answer.status in (0, None) or ids:
        return Unavailable(f"{sentence}; whether the job exists is asked by name")
    refusal = _REFUSED.search(answer.err)
    if refusal is None:
        certain = _BAD_USE.search(answer.err) and not _NO_WORD.search(answer.err)
        return Rejected(sentence) if certain else Unavailable(sentence)
    return _refused(refusal[1], answer.err, sentence)


def _refused(reason: str, said: str, sentence: str) -> Rejected | Unavailable:
    """Return what a refusal means that the controller, or the way to it, gave."""
    if "Invalid job array" in reason:
        return TooLarge(sentence)
    if _FULL.search(said) or (_POLICY.search(reason) and not _NAMED.search(said)):
        return AtLimit(sentence)
    if _NOT_NOW.search(said):
        return Full(sentence)
    if _NO_WORD.search(reason):
        return Unavailable(sentence)
    return Rejected(sentence)
