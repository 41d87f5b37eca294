"""Note what this processor gives in digests.json: `python -m tests.reproducibility [NAME]`, or `make processors`.

Where QEMU's user mode is installed (qemu-x86_64), the probe of the processors that it can be is noted too; the study
itself takes it too long.
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
PROBE = "import stages; from skiptrace import arithmetic; print(arithmetic.probe())"


def output(kernels: str, *command: str) -> str:
    """What a command prints under these kernels."""
    own = {k: v for k, v in os.environ.items() if k not in arithmetic.variables()}
    environment = own | {arithmetic.VARIABLE: kernels, "OMP_NUM_THREADS": "2"}
    return subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    """Write digests.json anew."""
    here = " ".join(sys.argv[1:]) or arithmetic.processor()
    emulator = shutil.which("qemu-x86_64")
    found: dict[str, list[dict]] = {}
    for kernels in ("avx2", "compatible"):
        study = json.loads(output(kernels, sys.executable, "-m", "tests.reproducibility.study"))
        found[kernels] = [{"processor": here, "digests": study}]
        for model, name in EMULATED.items() if emulator else ():
            probe = output(kernels, str(emulator), "-cpu", model, sys.executable, "-c", PROBE).strip()
            found[kernels].append({"processor": name, "digests": {"probe": probe}})
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
