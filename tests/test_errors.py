"""Bad input gets an error that names the argument, what was expected and what came."""

import pytest
import torch

from conftest import make_model
from training.arguments import parse_arguments

NAN, INF = float("nan"), float("inf")


def call(model, method: str = "predict", **changes):
    arguments = {
        "context_positions": torch.zeros(1, 3, 2),
        "context_values": torch.zeros(1, 3, 1),
        "query_positions": torch.zeros(1, 4, 2),
    }
    if method == "log_prob":
        arguments["query_values"] = torch.zeros(1, 4, 1)
    return getattr(model, method)(**{**arguments, **changes})


BAD = [
    ("context_positions", torch.zeros(3, 2), "expected shape"),
    ("context_positions", torch.zeros(1, 3, 3), "expected shape"),
    ("context_positions", torch.zeros(0, 3, 2), "batch of at least 1"),
    ("context_positions", torch.zeros(1, 3, 2, dtype=torch.long), "floating-point"),
    ("context_positions", torch.full((1, 3, 2), 1.5), r"\[-1, 1\].*1.5"),
    ("context_positions", torch.full((1, 3, 2), NAN), "NaN"),
    ("context_positions", [[0.0, 0.0]], "torch.Tensor"),
    ("context_positions", None, "torch.Tensor"),
    ("context_values", torch.zeros(1, 3, 3), "expected shape"),
    ("context_values", torch.zeros(1, 2, 1), "expected shape"),
    ("context_values", torch.zeros(2, 3, 1), "expected shape"),
    ("context_values", torch.full((1, 3, 1), INF), "infinite"),
    ("context_values", torch.full((1, 3, 1), 255.0), r"values in \[0.0, 1.0\], got numbers from 255"),
    ("context_values", None, "torch.Tensor"),
    ("query_positions", torch.zeros(1, 0, 2), "at least one"),
    ("query_positions", torch.zeros(2, 4, 2), "batch of 1, got 2"),
    ("query_positions", torch.zeros(1, 4, 1), "expected shape"),
    ("query_positions", torch.full((1, 4, 2), -INF), "infinite"),
    ("context_mask", torch.ones(1, 4, dtype=torch.bool), "expected shape"),
]


@pytest.mark.parametrize("method", ["predict", "sample", "log_prob", "__call__"])
@pytest.mark.parametrize(("argument", "value", "message"), BAD)
def test_bad_tensor_is_named(grey_model, method, argument, value, message):
    with pytest.raises((ValueError, TypeError), match=f"{argument}: expected .*{message}|{argument}: .*{message}"):
        call(grey_model, method, **{argument: value})


IN_TRAINING = [
    ("context_values", torch.full((1, 3, 1), 255.0), r"values in \[0.0, 1.0\]"),
    ("query_values", torch.full((1, 4, 1), 255.0), r"values in \[0.0, 1.0\]"),
    ("buffer_values", torch.full((1, 2, 1), 255.0), r"values in \[0.0, 1.0\]"),
    ("context_values", torch.full((1, 3, 1), 200, dtype=torch.uint8), "floating-point"),
    ("query_values", torch.full((1, 4, 1), 200, dtype=torch.uint8), "floating-point"),
    ("context_positions", torch.full((1, 3, 2), 27.0), r"\[-1, 1\]"),
    ("query_positions", torch.full((1, 4, 2), 27.0), r"\[-1, 1\]"),
    ("buffer_positions", torch.full((1, 2, 2), 27.0), r"\[-1, 1\]"),
    ("query_positions", torch.zeros(1, 4, 2, dtype=torch.long), "floating-point"),
    ("context_values", torch.full((1, 3, 1), NAN), "finite"),
    ("query_values", torch.full((1, 4, 1), -INF), "finite"),
    ("context_scales", torch.full((1, 3), 4.0), "scales from 0 to 0"),
]
GOOD = {
    "context_positions": torch.zeros(1, 3, 2),
    "context_values": torch.zeros(1, 3, 1),
    "query_positions": torch.zeros(1, 4, 2),
    "query_values": torch.zeros(1, 4, 1),
    "buffer_positions": torch.zeros(1, 2, 2),
    "buffer_values": torch.zeros(1, 2, 1),
}


@pytest.mark.parametrize(("argument", "value", "message"), IN_TRAINING)
def test_bad_numbers_are_named_in_training_too(grey_model, argument, value, message):
    """Not on the first batch alone: on a CPU looking costs nothing."""
    grey_model.train()
    grey_model(**GOOD)
    with pytest.raises(ValueError, match=f"{argument}: expected .*{message}"):
        grey_model(**GOOD | {argument: value})


WRONG_BUFFERS = [
    ("buffer_values", None, "a tensor, got None"),
    ("buffer_positions", None, "a tensor, got None"),
    ("buffer_blocks", torch.tensor([2, 1]), r"numbers from 1 on that never fall, got \[2, 1\]"),
    ("buffer_blocks", torch.tensor([0, 1]), r"numbers from 1 on that never fall, got \[0, 1\]"),
    ("buffer_blocks", torch.ones(1, 2, dtype=torch.long), r"shape \(M,\) = \(2,\), got \(1, 2\)"),
    ("buffer_blocks", torch.ones(3, dtype=torch.long), r"shape \(M,\) = \(2,\), got \(3,\)"),
    ("buffer_blocks", torch.ones(2), "integers, got torch.float32"),
]


@pytest.mark.parametrize(("argument", "value", "message"), WRONG_BUFFERS)
def test_bad_buffers_are_named(grey_model, argument, value, message):
    with pytest.raises(ValueError, match=f"{argument}: expected {message}"):
        grey_model(**GOOD | {argument: value})


def check(model, **given) -> None:
    """The checks of `forward` alone, which take no minute to compile."""
    absent = ("context_scales", "query_scales", "context_mask", "buffer_scales", "buffer_blocks")
    given = dict.fromkeys(absent) | given
    parts = ([given[f"{name}_{part}"] for part in ("positions", "values", "scales")] for name in CALLED)
    context, query, buffer = parts
    model._check_call(context, given["context_mask"], query, buffer, given["buffer_blocks"])


CALLED = ("context", "query", "buffer")


@pytest.fixture(scope="module")
def compiled():
    return torch.compile(check, backend="eager", fullgraph=True), make_model().train()


WRONG_NUMBERS = [case[:2] for case in IN_TRAINING if case[1].is_floating_point()][::2]


@pytest.mark.parametrize(("argument", "value"), [*WRONG_NUMBERS, ("buffer_blocks", torch.tensor([2, 1]))])
def test_bad_numbers_are_named_in_a_compiled_graph_too(compiled, argument, value):
    checked, model = compiled
    checked(model, **GOOD)
    with pytest.raises(RuntimeError, match=f"{argument}: expected (finite|numbers from 1 on) .*"):
        checked(model, **GOOD | {argument: value})


@pytest.mark.parametrize("mask", [torch.zeros(1, 3), torch.full((1, 3), -INF), torch.ones(1, 3, dtype=torch.half)])
def test_an_additive_mask_is_refused(grey_model, mask):
    """In it 0 means visible, which would be read as the opposite."""
    with pytest.raises(ValueError, match="context_mask: expected bool, True at real tokens, got torch.float"):
        call(grey_model, context_mask=mask)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64])
def test_masks_of_whole_numbers_mean_what_booleans_mean(grey_model, dtype):
    mask = torch.tensor([[True, False, True]])
    context = {"context_positions": torch.rand(1, 3, 2), "context_values": torch.rand(1, 3, 1)}
    expected = call(grey_model, context_mask=mask, **context).mean
    assert torch.equal(call(grey_model, context_mask=mask.to(dtype), **context).mean, expected)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_samples", 0),
        ("num_samples", 1.5),
        ("num_steps", 0),
        ("num_autoregressive", 5),
        ("num_autoregressive", -1),
        ("temperature", -0.1),
        ("temperature", NAN),
        ("order", torch.zeros(4, dtype=torch.long)),
        ("order", torch.arange(3)),
        ("order", torch.arange(4.0)),
        ("order", torch.arange(4, dtype=torch.int32)),
    ],
)
def test_bad_sampling_argument_is_named_before_work_starts(grey_model, argument, value):
    arguments = {argument: value}
    with pytest.raises(ValueError, match=f"{argument}: expected .*got"):
        grey_model.sample_iter(torch.zeros(1, 3, 2), torch.zeros(1, 3, 1), torch.zeros(1, 4, 2), **arguments)


def test_bad_query_values_are_named(grey_model):
    for value in (None, torch.zeros(1, 3, 1), torch.full((1, 4, 1), NAN), torch.full((1, 4, 1), 7.0)):
        with pytest.raises((ValueError, TypeError), match="query_values: expected"):
            call(grey_model, "log_prob", query_values=value)


def test_more_context_than_memory_is_refused(grey_model):
    grey_model.config.max_tokens = 10
    with pytest.raises(ValueError, match="context_positions: expected at most 10 .*got 11"):
        call(grey_model, context_positions=torch.zeros(1, 11, 2), context_values=torch.zeros(1, 11, 1))
    with pytest.raises(ValueError, match="query_positions: expected context and drawn queries together at most 10"):
        call(grey_model, "sample", query_positions=torch.zeros(1, 8, 2))
    assert call(grey_model, query_positions=torch.zeros(1, 500, 2)).batch_shape == (1, 500)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--dataset_name: expected"),
        ("--dataset_name x", "--output_dir: expected"),
        ("--dataset_name x --output_dir y", "--max_train_steps: expected this or --max_train_minutes"),
        ("--dataset_name x --output_dir y --max_train_steps 0", "--max_train_steps: expected a number above 0, got 0"),
        ("--preset nothing", "--preset: expected one of .*mnist"),
        ("--preset mnist --token_budget 100", "--token_budget: expected at least .*got 100"),
        ("--preset mnist --push_to_hub", "--hub_model_id: expected"),
        ("--preset mnist --warmup 2", "--warmup: expected a number from 0 to 1, got 2"),
        ("--preset mnist --init_from z --hidden_size 8", "--init_from: expected no --hidden_size with it"),
        ("--preset mnist --buffer_size -1", "--buffer_size: expected"),
        ("--preset mnist --mixed_precision fp16", "--mixed_precision: expected auto, bf16 or no with --optimizer muon"),
        (
            "--preset mnist --report_to nobody",
            '--report_to: expected "none" or a tracker that is installed .*tensorboard',
        ),
    ],
)
def test_bad_flags_say_what_is_wrong_before_any_work(flags, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments(flags.split())


def test_presets_are_read_and_overridden(tmp_path):
    assert parse_arguments(["--preset", "mnist"])[1].dataset_name == "ylecun/mnist"
    assert parse_arguments(["--preset", "mnist", "--dataset_name", "other"])[1].dataset_name == "other"
    bad = tmp_path / "bad.json"
    bad.write_text('{"learning_rat": 1}')
    with pytest.raises(ValueError, match="--preset: .*bad.json has fields unknown to images: learning_rat"):
        parse_arguments(["--preset", str(bad)])
    bad.write_text("[1]")
    with pytest.raises(ValueError, match="--preset: .*bad.json: expected an object"):
        parse_arguments(["--preset", str(bad)])
    bad.write_text('{"optimizer": "sgd"}')
    with pytest.raises(SystemExit):
        parse_arguments(["--preset", str(bad)])
    bad.write_text("{")
    with pytest.raises(ValueError, match="--preset: .*bad.json is not JSON"):
        parse_arguments(["--preset", str(bad)])
