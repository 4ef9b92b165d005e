"""The shape of the code: functions fit on a screen, files are short, and imports run one way."""

import ast
import subprocess
from graphlib import TopologicalSorter

import pytest

from conftest import ROOT

LONGEST_FUNCTION, LONGEST_FILE = 60, 400  # lines; a function's docstring does not count
# What a folder or a file at the root may import of the others: those before it in this list.
LAYERS = [
    {"pixeltransformer"},
    {"signals", "configuration_pixeltransformer", "modeling_pixeltransformer", "handler"},
    {"baselines", "applications"},
    {"demo", "evaluation"},
    {"training", "evaluate"},
    {"train_accelerate", "app", "baselines.train", "baselines.field"},
    {"examples", "benchmarks"},
    {"tests"},
]
ENTRY_OF_FIELD = {"baselines.train", "baselines.field"}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.rglob("*.py")
    if not {"checkpoints", "runs", "tests"} & set(path.relative_to(ROOT).parts)
    and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
FILES = [name for name in FILES if any(name.split("/")[0].removesuffix(".py") in layer for layer in LAYERS)]


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text())


def code_lines(function: ast.AST) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    text = ast.get_docstring(function, clean=False) is not None
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if text else 0)


def imported(name: str, nodes) -> set[str]:
    """Our modules that some nodes of a file import, as names with dots."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            package = ".".join(name.split("/")[:-1]) + "." if node.level else ""
            found |= {package + (node.module or ""), *(f"{package}{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("name", FILES)
def test_functions_fit_on_a_screen_and_files_are_short(name):
    assert len((ROOT / name).read_text().splitlines()) <= LONGEST_FILE
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert code_lines(node) <= LONGEST_FUNCTION, node.name


@pytest.mark.parametrize("name", FILES)
def test_no_import_runs_upward(name):
    ranks = {top: rank for rank, layer in enumerate(LAYERS) for top in layer}

    def layer_of(module: str) -> str:
        """The part of a module's name that has a rank; an entry point may stand above the rest of its folder."""
        first_two = ".".join(module.split(".")[:2])
        return first_two if first_two in ranks else module.split(".")[0]

    own = layer_of(name.removesuffix(".py").replace("/", "."))
    for module in imported(name, ast.walk(tree(name))):
        top = layer_of(module)
        assert top == own or ranks.get(top, -1) < ranks[own] or {top, own} == ENTRY_OF_FIELD, module


def test_modules_do_not_import_each_other_in_a_circle():
    """Among imports at the top of files: those inside functions wait until they are needed."""
    modules = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): name for name in FILES}
    order = TopologicalSorter(
        {module: imported(name, tree(name).body) & set(modules) - {module} for module, name in modules.items()}
    )
    assert len(list(order.static_order())) >= len(modules)


def test_every_tracked_python_file_of_ours_is_looked_at():
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    ours = [name for name in listed.stdout.split() if not name.startswith(("checkpoints/", "tests/"))]
    assert set(ours) <= set(FILES)
