"""What pyproject.toml cannot say: a wheel holds the records of results/, as benchmarks/records/."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RESULTS = Path(__file__).resolve().with_name("results")


class WithRecords(build_py):
    """Build the packages and, unless they stay where they are, copy the records into them."""

    def run(self) -> None:
        """Copy what tables and figures are made of; records of fuzzing make none."""
        super().run()
        if self.editable_mode:
            return
        to = Path(self.build_lib, "benchmarks", "records")
        shutil.rmtree(to, ignore_errors=True)
        for path in RESULTS.glob("*/*.json"):
            if path.parent.name != "fuzz" and not path.name.startswith(("quick_", "yours_")):
                (to / path.parent.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to / path.parent.name / path.name)


setup(cmdclass={"build_py": WithRecords})
