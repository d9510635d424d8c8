"""The GPU half of the tests: CuPy and CUDA paths against their CPU references.

python benchmarks/gpu/run_tests.py            # fails where there is no GPU
python benchmarks/gpu/run_tests.py --small    # anywhere: collects them, and runs the CUDA sources on the CPU
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run pytest and return its exit code."""
    from mrrecon.operators.backend import has_cupy

    small = "--small" in sys.argv[1:]
    if not small and not has_cupy():
        print("No GPU found by CuPy; use --small to try the script on the CPU.")
        return 1
    chosen = ["-k", "cuda_source"] if small else ["-m", "gpu"]
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *chosen, "tests"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
