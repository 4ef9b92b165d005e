"""Bad arguments of the app's named actions, sent as any client would send them."""

import math

from benchmarks.reliability.tally import Tally

NASTY = ("x", -1, 10**12, [], {"a": [1]}, "[[NaN]]", '{"positions": [[9, 9]], "values": [[0]]}', "../../etc/passwd")


def try_app(most: int = 200) -> Tally:
    """Every named action with one argument spoilt; the words are checked for those of a clear error.

    Many arguments bear any value (a text, a number that is clamped), so that an answer is no fault here.
    """
    from gradio_client import Client

    import app

    tally = Tally()
    blocks = app.build()
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    try:
        client = Client(url, verbose=False, httpx_kwargs={"timeout": 300})
        actions = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        cases = [
            (name, parameter["parameter_name"], bad)
            for name, action in actions.items()
            for parameter in action["parameters"]
            for bad in NASTY
        ]
        for name, parameter, bad in cases[:: max(1, math.ceil(len(cases) / most))]:
            given = {p["parameter_name"]: p["parameter_default"] for p in actions[name]["parameters"]}
            case = f"{name}({parameter}={bad!r})"
            try:
                client.predict(api_name=name, **{**given, parameter: bad})
                tally.tried += 1
            except Exception as error:
                hidden = "has not enabled verbose error reporting" in str(error)
                tally.note(case, f"{type(error).__name__}: {error}"[:300], r"expected|[Vv]alue|choices", crashed=hidden)
    finally:
        blocks.close()
    return tally
