"""The Cargo that tries to get out: a plain script that speaks the Cargo protocol.

`inside NAMES…`, with the world on standard input, runs the probes and prints what came of each; `outside NAMES…`
does so on the host itself, each in a mount namespace of its own. Else it is started as any Cargo: the input
`{"probes": […], "world": {…}}` names what to try, and each item of the answer is one result. `{"abuse": …}` makes the
Cargo itself misbehave towards its Island.
"""

from __future__ import annotations

import json
import sys

if __name__ == "__main__":
    if sys.argv[1:2] in (["inside"], ["outside"]):
        import files
        import kernel
        import network
        import processes
        import resources
        from probe import World, run_all

        del files, kernel, network, processes, resources
        run_all(sys.argv[2:], World(**json.load(sys.stdin)), outside=sys.argv[1] == "outside")
    else:
        import service

        service.main()
