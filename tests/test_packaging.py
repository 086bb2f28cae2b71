"""What setup.cfg promises."""

import ast
import configparser
import importlib
import re
import sys
from pathlib import Path

import mtl

ROOT = Path(__file__).parent.parent

#: Where a distribution is not named like the package that it holds.
DISTRIBUTION_OF = {
    "google": "protobuf",
    "keras_hub": "keras-hub",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_text": "tensorflow-text",
    "yaml": "pyyaml",
}


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    return config


def distributions(requirements: str) -> set[str]:
    """The lower-case names in a list of requirements."""
    lines = [line for line in requirements.splitlines() if line and not line.startswith("#")]
    return {re.split(r"[\[<>=!~;\s]", line)[0].lower() for line in lines}


def test_every_import_is_declared() -> None:
    config = setup_cfg()
    declared = distributions(config["options"]["install_requires"])
    for extra in ("demo", "tfds", "test"):
        declared |= distributions(config["options.extras_require"][extra])
    faults = []
    for path in sorted((ROOT / "mtl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for package in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"mtl"}:
                if DISTRIBUTION_OF.get(package, package).lower() not in declared:
                    faults.append(f"{path.relative_to(ROOT)} imports '{package}', which setup.cfg does not declare")
    assert not faults, "\n".join(faults)


def test_extras() -> None:
    assert set(setup_cfg()["options.extras_require"]) == {"bench", "demo", "gpu", "test", "tfds"}


def test_pytorch_is_for_benchmarks_only() -> None:
    config = setup_cfg()
    extras = config["options.extras_require"]
    others = [extras[extra] for extra in extras if extra != "bench"] + [config["options"]["install_requires"]]
    assert "torch" in distributions(extras["bench"])
    assert not {"torch", "transformers"} & distributions("\n".join(others))


def test_command() -> None:
    name, _, target = setup_cfg()["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = target.partition(":")
    assert name == "mtl"
    assert callable(getattr(importlib.import_module(module), function))


def test_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert [heading for heading in headings if heading != "Unreleased"][0] == mtl.__version__
