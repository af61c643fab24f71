"""Run inputs through a target without a fuzzer: `replay.py [--plain] NAME [FILE...]`, `--digests NAME...`.

Without files: the checked-in corpus. `--digests` prints what came of each input of the corpora in a few octets, so that
two ways to run the codecs can be compared; `--learnt` takes what the last runs of the fuzzer left; `--plain` runs the
codecs uncompiled.
"""

from __future__ import annotations

import argparse
import pprint
from pathlib import Path

import harness


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--digests", action="store_true")
    parser.add_argument("--learnt", action="store_true")
    parser.add_argument(
        "--mutated", type=int, default=0, metavar="N", help="and N mutations of the corpus, always the same"
    )
    parser.add_argument("name", choices=harness.TARGETS)
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    if options.plain:
        harness.use_plain_codecs()
    for name in (options.name, *options.rest) if options.digests else (options.name,):
        target = harness.load(name)
        if options.learnt:
            inputs = [(path.name, path.read_bytes()) for path in sorted((harness.WORK / name / "corpus").iterdir())]
        elif options.rest and not options.digests:
            inputs = [(file, Path(file).read_bytes()) for file in options.rest]
        else:
            inputs = [(str(number), data) for number, data in enumerate(harness.read_corpus(name))]
        inputs += [(f"mutated-{number}", data) for number, data in enumerate(harness.mutated(name, options.mutated))]
        for place, data in inputs:
            if options.digests:
                print(name, place, harness.digest(target.run(data)), flush=True)
            else:
                print(f"{place}: {harness.escape(data)}", flush=True)
                pprint.pprint(target.run(data), width=120)
    harness.check_loaded(options.plain)


if __name__ == "__main__":
    main()
