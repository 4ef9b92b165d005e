"""What `pip install .` installs; how the package, the root's names for it and the shipped copies hang together."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest
from packaging.requirements import Requirement

import configuration_pixeltransformer
import modeling_pixeltransformer
import pixeltransformer
from conftest import CODE, ROOT
from training.publish import copy_code

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = [
    Requirement(line)
    for name in ("requirements.txt", "requirements-dev.txt")
    for line in (ROOT / name).read_text().splitlines()
    if not line.startswith("-r")
]


def test_a_wheel_holds_the_package_and_no_other_module(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.is_dir() and (path / "__init__.py").exists():
            copytree(path, source / path.name, ignore=ignore_patterns("__pycache__"))
        elif path.suffix in (".py", ".toml", ".md") or path.name == "LICENSE":
            copy(path, source)
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w", ".."]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    names = wheel.namelist()
    facts = Parser().parsestr(wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode())
    assert set(facts.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    required = {Requirement(line).name for line in facts.get_all("Requires-Dist") if "extra ==" not in line}
    assert required == {Requirement(line).name for line in PROJECT["dependencies"]}
    assert any(name.endswith("LICENSE") for name in names)
    assert sorted(name for name in names if ".dist-info/" not in name) == sorted(
        f"pixeltransformer/{name}" for name in ("__init__.py", *CODE)
    )


@pytest.mark.parametrize("name", CODE)
def test_exported_modules_import_their_neighbours_and_libraries_that_the_package_requires(name):
    """The Hub's loader copies `from .name import` and nothing else."""
    libraries = {re.split(r"\W", Requirement(line).name)[0] for line in PROJECT["dependencies"]}
    libraries |= {"huggingface_hub", "PIL"}
    for node in ast.walk(ast.parse((ROOT / "pixeltransformer" / name).read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and f"{node.module}.py" in CODE, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert {module.split(".")[0] for module in modules} <= libraries | sys.stdlib_module_names


def test_root_modules_hand_out_the_classes_of_the_package():
    for module in (configuration_pixeltransformer, modeling_pixeltransformer):
        for name in module.__all__:
            assert getattr(module, name) is getattr(pixeltransformer, name)


def test_every_required_range_holds_the_pinned_version():
    pins = {pin.name: str(pin.specifier).removeprefix("==") for pin in PINNED}
    assert all(re.fullmatch(r"==[\d.]+(\.post\d+)?", str(pin.specifier)) for pin in PINNED)
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    required = [Requirement(line) for line in lines if not line.startswith("pixeltransformer[")]
    for requirement in required:
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    assert {requirement.name for requirement in required} == set(pins)


def test_copied_code_replaces_what_was_there(tmp_path):
    (tmp_path / "gone.py").write_text("")
    (tmp_path / "chain.py").symlink_to(tmp_path / "gone.py")
    (tmp_path / "config.json").write_text("{}")
    copy_code(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["config.json", *CODE])
    for name in CODE:
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == Path(ROOT, "pixeltransformer", name).read_bytes()
