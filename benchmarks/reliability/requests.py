"""Bad and odd requests to the handler of an inference endpoint."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.model_calls import INF, NAN, small_model
from benchmarks.reliability.tally import Tally, quiet
from handler import EndpointHandler

SINGLE = (None, "x", -1, True, 0.5, NAN, INF, {}, {"a": 1}, [None], ["x"], [[]])
ROWS = ([None, 0.0], ["x", 0.0], [NAN, 0.0], [1e400, 0.0], [10**400, 0.0], [9.0, 9.0], [0.0] * 9, [[0.0, 0.0]])
NASTY = (*SINGLE, *([row, row] for row in ROWS), [[0.0, 0.0]] * 70_000)
GOOD = {"positions": [[0.0, 0.0], [0.5, 0.5]], "values": [[0.0], [1.0]]}


def requests() -> Iterator[tuple[object, str]]:
    """Requests that are wrong in one place, and a regular expression for its name and, of a number, its digits."""
    for bad in (None, 3, "x", [], {}, {"input": GOOD}):
        yield bad, "request"
    for key in ("positions", "values", "queries", "grid"):
        for bad in NASTY:
            yield {"inputs": {**GOOD, key: bad}}, re.escape(f"inputs.{key}")
    for bad in (None, 3, "x", [], [3], [None], [GOOD] * 1000, {"place": 1}):
        yield {"inputs": bad}, "inputs"
    for name in ("num_samples", "num_steps", "temperature", "seed", "task", "order"):
        for bad in ("x", -1, True, NAN, INF, [1], {}, 10**30):
            yield {"inputs": GOOD, "parameters": {name: bad}}, re.escape(f"parameters.{name}")
    yield {"inputs": GOOD, "parameters": {"n": 1}}, "parameters"
    yield {"inputs": GOOD, "parameters": []}, "parameters"
    for beyond in (1.0003, 1.001, -1.0003, 255.0):
        for key, row in (("positions", [0.0, beyond]), ("queries", [beyond, 0.0]), ("values", [beyond])):
            rows = [row] if key == "queries" else [GOOD[key][0], row]
            word = (
                rf"^inputs\.{key}\[{len(rows) - 1}\]: expected numbers from -?\d to 1, got .*{re.escape(str(beyond))}"
            )
            yield {"inputs": {**GOOD, key: rows}}, word
    for bad in ([0], [0, 0.5], [0, NAN], "x", [0, "x"]):
        yield {"inputs": {**GOOD, "scales": bad}}, r"^inputs\.scales"


def try_handler() -> Tally:
    """Every bad request, and some that are only odd."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        with quiet():
            small_model().save_pretrained(folder)
            handler = EndpointHandler(str(Path(folder)))
        for request, word in requests():
            tally.refuse(repr(request)[:120], lambda request=request: handler(request), word, (ValueError,))
        plain = handler({"inputs": GOOD})
        for beyond in (1.0, 1.0000001, 1.00005):
            for key, rows in (("positions", [[0.0, 0.0], [beyond, 0.5]]), ("values", [[0.0], [beyond]])):
                near = {"inputs": {**GOOD, key: rows}}
                end = {"inputs": {**GOOD, key: [[min(number, 1.0) for number in row] for row in rows]}}
                tally.answer(f"{key} at {beyond}", lambda near=near, end=end: handler(near) == handler(end))
        whole = {"positions": [[0, 0], [0.5, 0.5]], "values": [[0], [1]]}
        tally.answer("whole numbers", lambda: handler({"inputs": whole}) == plain)
        tally.answer("parameters of null", lambda: handler({"inputs": GOOD, "parameters": None}) == plain)
        tally.answer("a list of one", lambda: handler({"inputs": [GOOD]}) == [plain])
        tally.answer("nothing observed", lambda: len(handler({"inputs": {}})["mean"]) == 36)
    return tally
