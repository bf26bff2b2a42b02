"""Packages of the wheel: both packages, and the recipes, which are edited in configs/ and installed within one."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["transformer", "transformer.*", "experiments", "experiments.*"]),
        "experiments.recipes",
    ],
    package_dir={"experiments.recipes": "configs"},
)
