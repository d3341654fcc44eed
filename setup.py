"""Puts `configs/common` into the wheel; all else about the package is in pyproject.toml.

An installed wheel has it as `stageinteractor/_configs/common`, a checkout in its own place.
"""

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

PARENT = "stageinteractor._configs"


class BuildPy(build_py):
    """Collects the Python files of the package, and outside it `configs/common`."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if not self.editable_mode:
            found = find_namespace_packages("configs", include=["common", "common.*"])
            extra = [f"{PARENT}.{name}" for name in found if "__pycache__" not in name]
            self.packages = [*self.packages, *extra]
            self.package_dir[PARENT] = "configs"


setup(cmdclass={"build_py": BuildPy})
