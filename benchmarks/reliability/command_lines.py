"""Bad command lines of the training, and its flags on the way through the launchers."""

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields

from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

import train_accelerate
from benchmarks.reliability.tally import Tally
from signals import find, kinds
from training.arguments import Arguments

COUNTS = """hidden_size num_encoder_layers num_decoder_layers num_attention_heads intermediate_size num_bins num_scales
    max_context max_queries max_train_steps gradient_accumulation_steps validate_every validation_images save_every
    max_checkpoints num_polynomials validation_size calibration_components"""
SHARES = """zero_probability block_probability long_buffer_probability continuous_probability warmup ema_decay
    chain_probability average_probability pattern_probability query_share beta"""
REST = ["--output_dir", "{folder}", "--max_train_steps", "1", "--report_to", "none"]


def command_lines() -> Iterator[tuple[list[str], str]]:
    """Flags that cannot work, each with the name that the message must hold."""
    base = ["--kind", "polynomial", *REST]
    for name in COUNTS.split():
        for value in ("0", "-3", "x", "1.5", ""):
            yield [*base, f"--{name}", value], name
    for name in ["buffer_size", "num_workers", "degree", "calibration_steps"]:
        for value in ("-1", "x"):
            yield [*base, f"--{name}", value], name
    for name in SHARES.split():
        for value in ("-0.1", "1.1", "nan", "x"):
            yield [*base, f"--{name}", value], name
    for name in ["learning_rate", "adam_learning_rate", "max_grad_norm", "max_train_minutes", "weight_decay"]:
        for value in ("-1", "nan", "x"):
            yield [*base, f"--{name}", value], name
    for name in ["architecture", "bins", "optimizer", "decay", "mixed_precision", "report_to", "kind", "preset"]:
        yield [*base, f"--{name}", "nothing"], name
    for name, value in (("resume", "latest"), ("resume", "/nowhere"), ("init_from", "/nowhere"), ("token_budget", "3")):
        yield [*base, f"--{name}", value], name
    yield [*base, "--push_to_hub", "true"], "hub_model_id"
    yield [*base, "--no_such_flag", "1"], "no_such_flag"
    yield [*base, "--signal", "image"], "signal"
    yield [*base, "--output_dir", "/proc/nowhere"], "output_dir"
    yield [*base, "--output_dir", ""], "output_dir"
    yield [*base, "--validation_contexts", "-1"], "validation_contexts"
    yield [*base, "--hidden_size", "10"], "hidden_size"
    yield [*base, "--overwrite", "true", "--resume", "latest"], "overwrite"
    yield [*base, "--overwrite", "perhaps"], "overwrite"
    yield [*base, "--calibration_components", "2"], "calibration_components"
    yield [*base, "--mixed_precision", "fp16"], "mixed_precision"
    for kind, flags, word in (
        ("image", [], "dataset_name"),
        ("image", ["--dataset_name", "/nowhere/at/all"], "dataset_name"),
        ("image", ["--dataset_name", "{folder}"], "dataset_name"),
        ("image", ["--dataset_name", "x", "--image_size", "0"], "image_size"),
        ("image", ["--dataset_name", "x", "--streaming", "true"], "validation_split"),
        ("image", ["--dataset_name", "x", "--shuffle_rows", "0"], "shuffle_rows"),
        ("image", ["--dataset_name", "x", "--channels", "blue"], "channels"),
        ("image", ["--dataset_name", "x", "--max_bad_rows", "-1"], "max_bad_rows"),
        ("image", ["--dataset_name", "x", "--max_bad_rows", "many"], "max_bad_rows"),
        ("image", ["--dataset_name", "x", "--degree", "3"], "degree"),
        *(
            ("video", ["--dataset_name", "x", f"--{name}", "0"], name)
            for name in ("frames", "frame_size", "digit_size")
        ),
        ("video", ["--dataset_name", "x", "--num_digits", "-1"], "num_digits"),
        *(("shape", ["--dataset_name", "x", f"--{name}", "0"], name) for name in ("shape_size", "truncation")),
        *(
            ("shape", ["--dataset_name", "x", f"--{name}", "2"], name)
            for name in ("near_surface", "surface_probability")
        ),
    ):
        yield ["--kind", kind, *REST, *flags], word


def try_command_lines() -> Tally:
    """Every bad command line, in this process."""
    tally, argv = Tally(), sys.argv
    with tempfile.TemporaryDirectory() as folder:
        for flags, word in command_lines():
            sys.argv = ["train_accelerate.py", *(flag.replace("{folder}", folder) for flag in flags)]
            out, case = io.StringIO(), " ".join(flags[8:])
            try:
                with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
                    train_accelerate.main()
                tally.note(case, None, word)
            except SystemExit as error:
                message = out.getvalue().splitlines()[-1] if isinstance(error.code, int) else str(error.code)
                tally.note(case, message if error.code else None, word)
            except BaseException as error:
                tally.note(case, f"{type(error).__name__}: {error}", word, crashed=True)
    sys.argv = argv
    return tally


LAUNCHERS = {"accelerate launch": launch_command_parser, "torchrun": get_args_parser}


def try_launchers() -> Tally:
    """Every flag of the training behind its script's name, in three spellings: does the training get it?"""
    tally = Tally()
    names = {entry.name for kind in kinds() for entry in (*fields(Arguments), *fields(find(kind)))}
    for launcher, make_parser in LAUNCHERS.items():
        parser = make_parser()
        for name in sorted(names):
            ways = ([f"--{name}", "x"], [f"--{name}=x"], [f"--{name.replace('_', '-')}", "x"])
            tally.answer(
                f"{launcher}: --{name}",
                lambda parser=parser, ways=ways: all(
                    parser.parse_args(["train_accelerate.py", *own]).training_script_args == own for own in ways
                ),
            )
    return tally
