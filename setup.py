"""Packaging. Exact tested versions stand in constraints.txt; here stand the ranges that the code is written for."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """The version that the package states, read without importing it."""
    text = (ROOT / "rl_distill" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise RuntimeError("rl_distill/__init__.py states no __version__")
    return found.group(1)


CORE = [
    "torch>=2.6",
    "transformers>=5.10,<5.20",  # generation and cache interfaces move between minor releases
    "tokenizers",
    "safetensors",
    "datasets",
    "numpy",
    "packaging",
    "pydantic>=2.7",
    "omegaconf>=2.4",  # brings its own parser runtime; earlier ones pin one that math-verify cannot share
    "PyYAML",
    "math-verify[antlr4_13_2]",
    "pebble",
    "rich",
    "matplotlib",
]
LORA = ["peft"]
TRL = ["trl>=1.0", "accelerate"]
WANDB = ["wandb>=0.31"]
CURATION = ["openai>=3.50", "jsonschema", "datasketch>=2", "rapidfuzz>=3"]  # datasketch 2 finds other candidates than 1
PANDAS = ["pandas"]
PAPERMILL = ["papermill", "ipykernel"]
REPORT = ["plotly>=6"]
CLUSTER = ["ray>=2.60", "deepspeed>=0.19", "psutil", *PANDAS]  # Ray Tune reads pandas
DOCS = ["mkdocs-material>=9.7", "mkdocstrings[python]", "latex2mathml", "ziamath"]  # formulas as MathML; their font is ziamath's
HARNESS = ["lm_eval[hf]>=0.4.13"]  # evaluates exported students; nothing of ours imports it

setup(
    name="rl_distill",
    version=version(),
    description="Zero-RL, distillation, REDI and probing compared on one small student, in one loop",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["rl_distill", "rl_distill.*"]),
    package_data={
        "rl_distill": [
            "py.typed",
            "analysis/*.html",
            "analysis/*.yaml",
            "curation/*.yaml",
            "evaluation/*.json",
            "evaluation/benchmarks/*.yaml",
            "planning/*.yaml",
            "reporting/page/*",
        ]
    },
    install_requires=CORE,
    extras_require={
        "cluster": CLUSTER,
        "vllm": ["vllm>=0.32"],
        "lora": LORA,
        "trl": TRL,
        "wandb": WANDB,
        "curation": CURATION,
        "harness": HARNESS,
        "notebooks": [*PANDAS, *PAPERMILL, "jupyterlab"],
        "report": REPORT,
        "docs": DOCS,
        "dev": [
            *LORA,
            *TRL,
            *WANDB,
            *CLUSTER,
            *CURATION,
            *PANDAS,
            *PAPERMILL,
            *REPORT,
            *DOCS,
            "playwright",  # drives a browser that is there already
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "mypy",
            "types-PyYAML",
            "pre-commit",
        ],
    },
    entry_points={"console_scripts": ["rl-distill = rl_distill.cli:main"]},
)
