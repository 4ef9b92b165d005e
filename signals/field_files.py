"""Files of fields: grids of real numbers with names, units and coordinates, read and written as xarray datasets.

A dataset's last two dimensions are the map's rows and columns (y, x); further ones, like time, number several maps.
Cells without a value are NaN.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray
from torch import Tensor

from signals.folders import split_of

NETCDF = (".nc", ".nc4", ".cdf")
ENDINGS = (".npy", ".npz", *NETCDF, ".zarr")


def find_fields(name: str) -> dict[str, list[Path]]:
    """Files (or Zarr folders) of fields by split: one file belongs to "", those of a folder to what their folders say.

    Raises:
        ValueError: where there is none.
    """
    path = Path(name)
    if path.suffix.lower() in ENDINGS and path.exists():
        return {"": [path]}
    if not path.is_dir():
        expected = (
            "an existing file" if path.suffix.lower() in ENDINGS else f"a file ({', '.join(ENDINGS)}) or a folder"
        )
        raise ValueError(f"--dataset_name: expected {expected} of fields, got {name!r}")
    found: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*")):
        inside_zarr = any(parent.suffix.lower() == ".zarr" for parent in file.relative_to(path).parents)
        if file.suffix.lower() in ENDINGS and not inside_zarr:
            found.setdefault(split_of(file.relative_to(path)), []).append(file)
    if not found:
        raise ValueError(f"--dataset_name: expected fields ({', '.join(ENDINGS)}) in the folder {name!r}, got none")
    return found


def read_field(path: str | Path, variables: Sequence[str] = (), missing_value: float | None = None) -> xarray.Dataset:
    """The variables of a file that are maps, as float32, NaN where a cell has no value.

    Args:
        variables (`Sequence[str]`): The channels of a value, in this order; empty: all numeric variables of at least
            two dimensions, which must be alike.
        missing_value (`float` or `None`): A further number that means that there is none, as some `.npy` files have.

    Raises:
        ValueError: naming the file, for what cannot be read, for a variable it lacks, or for maps of several shapes.
    """
    path = Path(path)
    try:
        dataset = _open(path)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: cannot read a field: {reason}") from error
    numeric = [name for name, part in dataset.data_vars.items() if part.ndim >= 2 and part.dtype.kind in "fiub"]
    absent = [name for name in variables if name not in numeric]
    if absent or not numeric:
        raise ValueError(
            f"{path}: expected {'the maps ' + ', '.join(absent) if absent else 'numeric variables of two dimensions'}, "
            f"got {', '.join(f'{name} {dataset[name].shape}' for name in dataset.data_vars) or 'no variables'}"
        )
    dataset = dataset[list(variables) or numeric]
    shapes = {part.dims: part.shape for part in dataset.data_vars.values()}
    if len(shapes) > 1:
        listing = ", ".join(f"{name} {part.dims}" for name, part in dataset.data_vars.items())
        raise ValueError(f"{path}: expected variables of the same dimensions, got {listing}; name some by --variables")
    made = dataset.astype("float32", keep_attrs=True)
    made = made.where(np.isfinite(made))
    return made if missing_value is None else made.where(made != np.float32(missing_value))


def _open(path: Path) -> xarray.Dataset:
    ending = path.suffix.lower()
    if ending == ".npy":
        return _of_arrays({"value": np.load(path, allow_pickle=False)})
    if ending == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return _of_arrays({name: stored[name] for name in stored.files})
    if ending == ".zarr":
        return xarray.open_zarr(path, consolidated=False).load()
    with xarray.open_dataset(path) as opened:
        return opened.load()


def _of_arrays(arrays: dict[str, np.ndarray]) -> xarray.Dataset:
    """Arrays (…, y, x) by name as a dataset; one-dimensional arrays called x and y are its coordinates."""
    variables = {}
    for name, array in arrays.items():
        if array.ndim >= 2:
            dims = [f"dim_{number}" for number in range(array.ndim - 2)]
            variables[name] = ([*dims, "y", "x"], array)
    coordinates = {name: arrays[name] for name in ("x", "y") if name in arrays and arrays[name].ndim == 1}
    return xarray.Dataset(variables, coordinates)


def to_maps(dataset: xarray.Dataset) -> Tensor:
    """Maps (N, y, x, V) of a dataset's variables; N counts the combinations of its further dimensions."""
    stacked = np.stack([part.values for part in dataset.data_vars.values()], -1)  # (…, y, x, V)
    return torch.from_numpy(stacked.reshape(-1, *stacked.shape[-3:]).astype(np.float32))


def units_of(dataset: xarray.Dataset) -> dict[str, str]:
    """The unit of each variable; empty where none is recorded."""
    return {str(name): str(part.attrs.get("units", "")) for name, part in dataset.data_vars.items()}


def read_maps(
    files: dict[str, list[Path]], variables: Sequence[str], missing_value: float | None
) -> tuple[dict[str, str], dict[str, list[Tensor]]]:
    """The unit of each variable, and the maps (y, x, V) of all files by split; other arguments as of `read_field`.

    Raises:
        ValueError: naming the file, for one whose variables or units are not those of the first.
    """
    first, units, maps = "", {}, {}
    for split, paths in files.items():
        maps[split] = []
        for path in paths:
            dataset = read_field(path, variables, missing_value)
            first, units = first or path.name, units or units_of(dataset)
            if units_of(dataset) != units:
                raise ValueError(
                    f"--dataset_name: expected the variables of {first} in each file, with their units, {units}; got "
                    f"{units_of(dataset)} in {path.name}"
                )
            maps[split] += to_maps(dataset[list(units)])  # in one order, whatever that of the file
    return units, maps


def write_field(dataset: xarray.Dataset, path: str | Path) -> Path:
    """Write a dataset as netCDF or Zarr, by the ending of the path, replacing what is there.

    Raises:
        ValueError: for another ending.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".zarr":
        dataset.to_zarr(path, mode="w", consolidated=False)
    elif path.suffix.lower() in NETCDF:
        dataset.to_netcdf(path)
    else:
        raise ValueError(f"{path}: expected a name that ends in .zarr or {', '.join(NETCDF)}")
    return path
