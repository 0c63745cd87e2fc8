"""Speed and memory of every stage, each as a ratio to a reference form in the same process.

`python -m Testing.Benchmarks` runs all of it; see `__main__`.
"""

from pathlib import Path

OUTPUT = Path("benchmark-output")
"""Where results go unless asked otherwise."""
