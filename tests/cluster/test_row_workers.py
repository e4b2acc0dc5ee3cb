"""Attempts that are graded by processes of a cluster have the verdicts that they have in one process."""

import yaml


def test_a_curation_on_ray_publishes_the_same_bytes(cli, tmp_path):
    tree = {
        "name": "tiny",
        "problems": [{"name": "arithmetic", "num_problems": 40}],
        "generate": {"teacher": {"name": "procedural"}, "num_samples": 3, "sampling": {"max_tokens": 200}},
    }
    for name, cluster in (("local", {"name": "local"}), ("ray", {"name": "ray", "workers": 2, "rows": 16})):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**tree, "folder": str(tmp_path / name), "cluster": cluster}))
        code, _, err = cli("curate", path)
        assert (code, err) == (0, "")
    files = [path.relative_to(tmp_path / "local") for path in (tmp_path / "local" / "data").rglob("*") if path.is_file()]
    assert len(files) == 9
    for file in files:
        assert (tmp_path / "local" / file).read_bytes() == (tmp_path / "ray" / file).read_bytes(), file
