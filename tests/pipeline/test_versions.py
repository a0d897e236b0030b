import sys

from pipeline.versions import code_version


def test_any_change_to_a_source_changes_the_version(tmp_path, monkeypatch) -> None:
    package = tmp_path / "somepackage"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    first = code_version("somepackage")
    code_version.cache_clear()
    assert code_version("somepackage") == first
    (package / "__init__.py").write_text("x = 2\n")
    code_version.cache_clear()
    second = code_version("somepackage")
    assert second != first
    (package / "other.py").write_text("")
    code_version.cache_clear()
    assert code_version("somepackage") not in (first, second)
    sys.modules.pop("somepackage", None)
