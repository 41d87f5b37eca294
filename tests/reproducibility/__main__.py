"""Note what this processor gives in digests.json: `python -m tests.reproducibility [NAME]`, or `make processors`.

Where QEMU's user mode is installed (qemu-x86_64), the processors that it can be are noted too; that takes minutes.
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


def study(kernels: str, *emulator: str) -> dict[str, str]:
    """The digests under these kernels."""
    own = {k: v for k, v in os.environ.items() if k not in arithmetic.variables()}
    command = [*emulator, sys.executable, "-m", "tests.reproducibility.study"]
    environment = own | {arithmetic.VARIABLE: kernels, "OMP_NUM_THREADS": "2"}
    return json.loads(subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    """Write digests.json anew, this processor first."""
    processors = {" ".join(sys.argv[1:]) or arithmetic.processor(): ()}
    if emulator := shutil.which("qemu-x86_64"):
        processors |= {name: (emulator, "-cpu", model) for model, name in EMULATED.items()}
    found: dict[str, list[dict]] = {}
    for kernels in ("avx2", "compatible"):
        found[kernels] = []
        for name, command in processors.items():
            digests = study(kernels, *command)
            same = next((entry for entry in found[kernels] if entry["digests"] == digests), None)
            if same is None:
                found[kernels].append({"processors": [name], "digests": digests})
            else:
                same["processors"].append(name)
            print(f"{kernels}: {name}: {'as ' + same['processors'][0] if same else digests}", flush=True)
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
