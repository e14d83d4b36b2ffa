"""The wheel holds every package and every data file of ours, and nothing outside the namespace."""

import glob
from pathlib import Path

import pytest

from tests.unit.packaging.project import PYPROJECT, ROOT, TOP_FOLDERS, files_of_ours

SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def package_files() -> list[Path]:
    return [path for path in files_of_ours("") if path.relative_to(ROOT).parts[0] in TOP_FOLDERS]


def import_name(folder: Path) -> str:
    return ".".join(("outrider", *folder.relative_to(ROOT).parts))


def test_packages_are_the_folders_that_hold_modules() -> None:
    folders = {path.parent for path in package_files() if path.suffix == ".py"}
    assert sorted(SETUPTOOLS["packages"]) == sorted(map(import_name, folders)), "[tool.setuptools] packages"


def test_each_top_folder_is_one_part_of_the_namespace() -> None:
    assert SETUPTOOLS["package-dir"] == {f"outrider.{folder}": folder for folder in TOP_FOLDERS}
    assert not (ROOT / "outrider").exists(), "a folder of this name would hide the namespace"


@pytest.mark.parametrize("name", SETUPTOOLS["packages"])
def test_a_package_has_an_init_and_is_typed(name: str) -> None:
    folder = ROOT.joinpath(*name.split(".")[1:])
    assert (folder / "__init__.py").is_file()
    assert (ROOT / folder.relative_to(ROOT).parts[0] / "py.typed").is_file()


def test_every_data_file_ships() -> None:
    data = {path for path in package_files() if path.suffix != ".py"}
    shipped: set[Path] = set()
    for name in SETUPTOOLS["packages"]:
        folder = ROOT.joinpath(*name.split(".")[1:])
        for pattern in SETUPTOOLS["package-data"]["*"] + SETUPTOOLS["package-data"].get(name, []):
            # Path.glob reads ** in another way than setuptools does.
            matches = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207
            shipped.update(folder / match for match in matches)
    assert data <= shipped, f"not in [tool.setuptools.package-data]: {sorted(map(str, data - shipped))}"


def test_mypy_and_pyright_see_the_namespace_through_the_link() -> None:
    link = ROOT / ".typing" / "outrider"
    assert link.is_symlink()
    assert link.resolve() == ROOT.resolve()
