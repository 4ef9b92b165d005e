"""What one request may ask for: sized so that a free Space (2 cores, 16 GB) answers everyone in good time."""

MAX_CONTEXT = 4096  # observed positions
MAX_VALUE = 1000.0  # of a continuous value, either way
MAX_RESOLUTION, MIN_RESOLUTION = 256, 16  # side of an image that is asked for
MAX_SHAPE_RESOLUTION, MIN_SHAPE_RESOLUTION = 64, 12  # side of a cube of signed distances
MAX_QUERIES = 65_536  # positions asked for by `predict`
MAX_SAMPLES = 6
MAX_STEPS = 2048
MAX_TEMPERATURE = 2.0
MAX_SEED = 2**31 - 1
MAX_DRAWN = 4096  # values drawn one after another; what is left is filled with its mean given them
MIN_DRAWN = 256  # of each sample, even where samples drawn together then have up to twice `MAX_PAIRS`
MAX_PAIRS = 2**28  # pairs of a query and a token it looks at, in samples drawn together: about 20 seconds on one core
MAX_SECONDS = 90  # of work on one request
MAX_PIXELS = 4096 * 4096  # of an uploaded picture
MAX_DRAFT = 10_000 * 10_000  # of a JPEG, which can be reduced while it is read
MAX_FACES = 200_000  # of an uploaded mesh
MAX_POINTS = 500_000  # of an uploaded point cloud
MAX_FILE = "10mb"
MAX_WAITING = 64  # requests in the queue
MAX_SESSIONS = 128  # visitors whose state is kept, about a megabyte each; a call of the API is one

# Two groups of requests: short answers, one at a time, never wait behind samples; samples wait in demo/turns.py, where
# small drawings come before large ones.
LIVE = {"concurrency_id": "live", "concurrency_limit": 1}
SLOW = {"concurrency_id": "slow", "concurrency_limit": 16}
SMALL = 64 * 64  # positions that are drawn in all: up to here a drawing is small


def whole(name: str, value: object, low: int, high: int) -> int:
    """`value` as an integer from `low` to `high`.

    Raises:
        ValueError: naming the argument and both limits.
    """
    number = real(name, value, low, high, "an integer")
    if number != int(number):
        raise ValueError(f"{name}: expected an integer from {low:,} to {high:,}, got {value!r}")
    return int(number)


def real(name: str, value: object, low: float, high: float, what: str = "a number") -> float:
    """`value` as a finite number from `low` to `high`.

    Raises:
        ValueError: naming the argument and both limits.
    """
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not numeric or not low <= value <= high:  # NaN compares with nothing
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "…"
        raise ValueError(f"{name}: expected {what} from {low:,} to {high:,}, got {shown}")
    return value


def drawn_at_most(samples: int, queries: int, known: int) -> int:
    """How many of the queries may be drawn one after another so that samples drawn together keep to the limits."""
    by_pairs = MAX_PAIRS // max(1, samples * queries) - known
    return min(queries, MAX_DRAWN, max(MIN_DRAWN, by_pairs))


def together_at_most(queries: int, known: int) -> int:
    """How many samples may be drawn together, each with at least `MIN_DRAWN` values."""
    return 2 * MAX_PAIRS // max(1, queries * (known + MIN_DRAWN))
