"""Measures the kernels of a drought_bench, each followed at once by its peers in PyTorch, so that both find the same
clock: a line of JSON each.

    python3 tests/bench/peers/kernel_figures.py DROUGHT_BENCH NAME... >figures

A line is {"name", "us", "rate", "unit", "peers": {backend: us}}; without PyTorch, or for what it has not, no peers.
Exit: 1 when a benchmark failed, which is told.
"""
import json
import re
import subprocess
import sys

try:
    import attention
except ImportError as missing:
    attention = None
    print(f"no peers: {missing}", file=sys.stderr)

UNITS = ("TFLOP/s", "GB/s")


def own(bench, name):
    """What drought_bench says of the one benchmark of that name."""
    words = [bench, f"--benchmark_filter=^{re.escape(name)}$", "--benchmark_format=json"]
    ran = subprocess.run(words, capture_output=True, text=True)
    try:
        found = json.loads(ran.stdout)["benchmarks"][0]
        unit = next(unit for unit in UNITS if unit in found)
    except (ValueError, LookupError, StopIteration):
        said = re.search(r'"error_message": "(.*)"', ran.stdout)
        print(f"{name}: {said[1] if said else ran.stderr.strip() or 'said nothing'}", file=sys.stderr)
        return None
    return {"us": found["real_time"], "rate": found[unit], "unit": unit}


def main():
    bench, names = sys.argv[1], sys.argv[2:]
    failed = False
    for name in names:
        figure = own(bench, name)
        if figure is None:
            failed = True
            continue
        plain = re.sub(r"/iterations:\d+/manual_time$", "", name)
        peers = attention.measure(plain) if attention else {}
        print(json.dumps({"name": plain, **figure, "peers": peers}), flush=True)
    sys.exit(failed)


main()
