"""Reads what kernel_figures.py wrote and prints one table: each kernel with its figure, the best peer's, how many times
as fast as that it is, and what it must reach.

    python3 tests/bench/peers/kernel_table.py FIGURES
"""
import json
import re
import sys

PREFIX = "kernels/gpu/"
PEER = "best peer"
# Kernels; what they are measured against, a peer or another kernel of ours; and how many times as fast they must be.
# A quantised cache's times are given as such, for they are what its fewer bytes are for.
MUSTS = (
    (r"prefill/hopper/D(128|64)/(full|causal)/(4096|16384)", PEER, 0.95),
    (r"prefill/hopper/D128/causal/512", PEER, 1.0),
    (r"decode/bf16/B64/N8192", PEER, 0.97),
    (r"decode/bf16/B64/N8192", "decode/read", 0.95),
    (r"decode/bf16/B1/N8192", PEER, 1.2),
    (r"decode/bf16/B64/N8192/page16", "decode/bf16/B64/N8192", 0.97),
    (r"decode/bf16/B1/N8192/page16", "decode/bf16/B1/N8192", 0.97),
    (r"decode/q8_0/B64/N8192", "decode/bf16/B64/N8192/page16", 1 / 0.62),
    (r"decode/q4_0/B64/N8192", "decode/bf16/B64/N8192/page16", 1 / 0.45),
    (r"vision/hopper/D80/full/64", "fa2-varlen", 2.0),
    (r"vision/hopper/D(72|80)/full/(1024|4096|16384)", PEER, 1.0),
)


def read(path):
    figures = {}
    for line in open(path):
        figure = json.loads(line)
        figures[figure["name"].removeprefix(PREFIX)] = figure
    return figures


def times_as_fast(name, against, figures):
    """None where the other was not measured."""
    own = figures[name]
    if against in figures:
        other = figures[against]
        if against == "decode/read":  # Which reads other bytes, so that rates say what times do not.
            return own["rate"] / other["rate"]
        return other["us"] / own["us"]
    peers = own["peers"]
    if against == PEER and peers:
        return min(peers.values()) / own["us"]
    return peers[against] / own["us"] if against in peers else None


def judged(name, figures):
    """A text and a verdict for each thing that the kernel must reach."""
    for pattern, against, least in MUSTS:
        if not re.fullmatch(pattern, name):
            continue
        ratio = times_as_fast(name, against, figures)
        text = f"{against} x {least:.2f}"
        verdict = "not measured" if ratio is None else "met" if ratio >= least else "MISSED"
        yield text + (f": {ratio:.2f}" if ratio is not None else ""), verdict


def row(name, figures):
    own = figures[name]
    peer = ratio = "-"
    if own["peers"]:
        backend, us = min(own["peers"].items(), key=lambda of: of[1])
        peer = f"{own['rate'] * own['us'] / us:.0f} {backend}"
        ratio = f"{us / own['us']:.2f}"
    musts = "; ".join(f"{text} {verdict}" for text, verdict in judged(name, figures)) or "-"
    return f"{name:<36} {own['us']:>9.1f} us {own['rate']:>7.0f} {own['unit']:<7} {peer:>16} {ratio:>6}  {musts}"


def main():
    figures = read(sys.argv[1])
    print(f"{'kernel':<36} {'drought':>12} {'':>15} {'best peer':>16} {'ratio':>6}  must")
    for name in figures:
        print(row(name, figures))
    verdicts = [verdict for name in figures for _, verdict in judged(name, figures)]
    print(", ".join(f"{verdicts.count(of)} {of}" for of in ("met", "MISSED", "not measured")))


main()
