"""What pyproject.toml cannot say: `assets/` holds what the program needs, and in a wheel it lies inside the package."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Leaves out the scripts that lie among the assets."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        if package.startswith("realtime_polyp.assets"):
            return []
        return super().find_package_modules(package, package_dir)  # type: ignore[no-any-return]


setup(
    packages=[
        *find_packages(include=["realtime_polyp*", "trainers*", "calibration*"]),
        "realtime_polyp.assets",
        "realtime_polyp.assets.weights",
    ],
    package_dir={"realtime_polyp.assets": "assets"},
    package_data={
        "realtime_polyp": ["py.typed"],
        "realtime_polyp.remote": ["static/*"],
        "realtime_polyp.review": ["templates/*.html"],
        "realtime_polyp.assets": ["calibration.json", "fusion.json", "quality.json"],
        "realtime_polyp.assets.weights": ["*.json", "*.md", "*.safetensors", "*.int8.xml", "*.int8.bin"],
    },
    include_package_data=False,
    cmdclass={"build_py": BuildPy},
)
