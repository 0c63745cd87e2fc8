"""Speed and memory of every stage, each as a ratio to a reference form in the same process.

`python -m Testing.Benchmarks -o speed.json` runs all of it; see `__main__`.
"""
