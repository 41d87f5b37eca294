"""Note what this processor gives in digests.json: `python -m tests.reproducibility [NAME]`, or `make processors`.

Where QEMU's user mode is installed (qemu-x86_64), the probe of the processors that it can be is noted too, and of an
Intel processor under `compatible` what of the study does without numba: ten minutes.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from skiptrace import arithmetic

FILE = Path(__file__).parent / "digests.json"
EMULATED = {"Haswell-v4": "Intel Haswell (QEMU)", "EPYC-Rome-v2": "AMD EPYC Rome (QEMU)"}
STUDIED = ("compatible", "Haswell-v4")
PROBE = "import stages; from skiptrace import arithmetic; print(arithmetic.probe())"


def output(kernels: str, *command: str) -> str:
    """What a command prints under these kernels."""
    own = {k: v for k, v in os.environ.items() if k not in arithmetic.variables()}
    environment = own | {arithmetic.VARIABLE: kernels, "OMP_NUM_THREADS": "2"}
    return subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    """Write digests.json anew.

    What other processors gave is kept while the code computes as it did: `compatible` gives every processor the same
    bytes, so where its digests are those noted before, nothing has changed; else they are dropped.
    """
    here = " ".join(sys.argv[1:]) or arithmetic.processor()
    emulator = shutil.which("qemu-x86_64")
    studies = {
        kernels: json.loads(output(kernels, sys.executable, "-m", "tests.reproducibility.study"))
        for kernels in ("avx2", "compatible")
    }
    before = json.loads(FILE.read_text(encoding="utf-8"))
    same = all(studies["compatible"].items() >= entry["digests"].items() for entry in before["compatible"])
    found: dict[str, list[dict]] = {}
    for kernels, study in studies.items():
        found[kernels] = [{"processor": here, "digests": study}]
        if same:
            names = {here, *EMULATED.values()} if emulator else {here}
            found[kernels] += [entry for entry in before[kernels] if entry["processor"] not in names]
        for model, name in EMULATED.items() if emulator else ():
            python = (str(emulator), "-cpu", model, sys.executable)
            if (kernels, model) == STUDIED:
                seen = json.loads(output(kernels, *python, "-m", "tests.reproducibility.study", "emulated"))
            else:
                seen = {"probe": output(kernels, *python, "-c", PROBE).strip()}
            found[kernels].append({"processor": name, "digests": seen})
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
