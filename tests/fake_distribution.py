"""An installed library that is none: what says which version is installed, and an empty module to find."""

from pathlib import Path


def fake_distribution(folder: Path, name: str, version: str, *requires: str, module: str | None = None) -> Path:
    """Put it into a folder, which then goes to the front of `sys.path`; returns the folder.

    Args:
        requires: what it asks for, such as "torch==2.4".
        module: the name of a module to make too.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    if module is not None:
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text("")
    return folder
