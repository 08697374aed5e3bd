from __future__ import annotations

import os
import tarfile
import time
from pathlib import Path

import pytest

from buildsystem import sources, tree, vendor
from buildsystem.pin import VENDOR, VendorError, read_pin
from tests.building.helpers import EXECUTABLES, SMALL, entries_of, pack_files


def quiet(_: str) -> None:
    pass


def kept(project: Path) -> Path:
    return project.parent / "cache" / "llama_bind" / f"llama.cpp-{read_pin(project).tree}.tar.gz"


def is_pinned(project: Path) -> bool:
    return tree.tree_hash(tree.scan(project / VENDOR)) == read_pin(project).tree


def test_fills_from_the_cache(project: Path) -> None:
    kept(project).parent.mkdir(parents=True)
    pack_files(kept(project), SMALL)
    lines: list[str] = []
    vendor.fill(project, log=lines.append)
    assert is_pinned(project)
    assert any("verified" in line for line in lines)
    assert [p.name for p in (project / VENDOR).parent.iterdir()] == [VENDOR.name], "temporary folders are left"


def test_fills_from_a_named_archive_of_any_shape(project: Path, tmp_path: Path) -> None:
    others = {"setup.py": b"", "vendor/llama.cpp/x": b""}
    archive = pack_files(tmp_path / "a.tar.gz", SMALL | {".git": b"gitdir: elsewhere"}, prefix="llama.cpp-0c1e/")
    vendor.fill(project, archive=archive, log=quiet)
    assert is_pinned(project)
    assert not any((project / VENDOR / path).exists() for path in others)


def test_filling_again_changes_nothing(project: Path, tmp_path: Path) -> None:
    vendor.fill(project, archive=pack_files(tmp_path / "a.tar.gz", SMALL), log=quiet)
    before = (project / VENDOR / "CMakeLists.txt").stat().st_mtime_ns
    vendor.fill(project, log=quiet)
    assert (project / VENDOR / "CMakeLists.txt").stat().st_mtime_ns == before


def test_what_a_failed_submodule_update_left_is_in_nobodys_way(project: Path, tmp_path: Path) -> None:
    (project / VENDOR / ".git").write_text("gitdir: ../../.git/modules/vendor/llama.cpp\n", encoding="utf-8")
    vendor.fill(project, archive=pack_files(tmp_path / "a.tar.gz", SMALL), log=quiet)
    assert is_pinned(project)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"src/llama.cpp": b"int llama() { return 3; }\n"}, "src/llama.cpp has other contents"),
        ({"src/evil.cpp": b""}, "src/evil.cpp does not belong"),
        ({"../../evil.cpp": b""}, "../../evil.cpp does not belong"),
        ({"src/llama.cpp": None}, "src/llama.cpp is missing"),
        ({"include/llama.h": None}, "holds no llama.cpp"),
    ],
)
def test_tampered_archive_is_refused_by_name(
    project: Path, tmp_path: Path, change: dict[str, bytes | None], named: str
) -> None:
    files = {p: d for p, d in (SMALL | change).items() if d is not None}
    with pytest.raises(VendorError) as caught:
        vendor.fill(project, archive=pack_files(tmp_path / "a.tar.gz", files), log=quiet)
    assert named in str(caught.value)
    assert list((project / VENDOR).iterdir()) == []
    assert [p.name for p in (project / VENDOR).parent.iterdir()] == [VENDOR.name]


def test_links_in_an_archive_are_refused(project: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(pack_files(tmp_path / "b.tar.gz", SMALL)) as source, tarfile.open(archive, "w") as target:
        for member in source.getmembers():
            if member.name.endswith("src/llama.cpp"):
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
    with pytest.raises(VendorError, match=r"src/llama\.cpp does not belong"):
        vendor.fill(project, archive=archive, log=quiet)


def test_cut_off_archive_is_an_error(project: Path, tmp_path: Path) -> None:
    archive = pack_files(tmp_path / "a.tar.gz", SMALL)
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(VendorError, match="cannot be unpacked"):
        vendor.fill(project, archive=archive, log=quiet)


def test_tampered_folder_is_refused_by_name(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.fill(project, archive=pack_files(tmp_path / "a.tar.gz", SMALL), log=quiet)
    file = project / VENDOR / "src/llama-a.cpp"
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(VendorError) as caught:
        vendor.fill(project, log=quiet)
    assert "src/llama-a.cpp has other contents" in str(caught.value)
    assert "rm -r vendor/llama.cpp/ && python -m buildsystem.vendor" in str(caught.value)
    assert file.read_bytes().endswith(b" "), "somebody's work was overwritten"
    monkeypatch.setenv(vendor.MODIFIED, "1")
    lines: list[str] = []
    vendor.fill(project, log=lines.append)
    assert "src/llama-a.cpp" in lines[0]


def test_source_distribution_may_lack_files_but_not_change_them(project: Path, tmp_path: Path) -> None:
    vendor.fill(project, archive=pack_files(tmp_path / "a.tar.gz", SMALL), log=quiet)
    (project / VENDOR / "scripts/run.sh").unlink()
    with pytest.raises(VendorError, match=r"scripts/run\.sh is missing"):
        vendor.fill(project, log=quiet)
    (project / "PKG-INFO").write_text("Name: llama-bind\n", encoding="utf-8")
    vendor.fill(project, log=quiet)
    (project / VENDOR / "src/llama.cpp").write_bytes(b"")
    with pytest.raises(VendorError, match=r"src/llama\.cpp has other contents"):
        vendor.fill(project, log=quiet)


def test_spoilt_copy_in_the_cache_is_removed_and_the_next_source_asked(project: Path) -> None:
    kept(project).parent.mkdir(parents=True)
    pack_files(kept(project), SMALL | {"src/llama.cpp": b"spoilt"})
    with pytest.raises(VendorError) as caught:
        vendor.fill(project, log=quiet)
    assert "src/llama.cpp has other contents than in the pinned llama.cpp (removed)" in str(caught.value)
    assert "package: pip download" in str(caught.value)
    assert not kept(project).exists()


def test_no_network_and_no_source_says_what_to_run(project: Path) -> None:
    (project / ".git").mkdir()
    with pytest.raises(VendorError) as caught:
        vendor.fill(project, log=quiet)
    text = str(caught.value)
    pin = read_pin(project)
    assert f"cache: no {kept(project)}" in text
    assert f"git: {pin.upstream} does not answer" in text
    assert f"package: pip download {pin.fallback} failed" in text
    assert "\n  git submodule update --init --depth 1 vendor/llama.cpp\n  python -m buildsystem.vendor\n" in text
    assert f"{pin.upstream}/archive/{pin.commit}.tar.gz" in text
    assert "python -m buildsystem.vendor --archive FILE" in text


def test_unwritable_cache_costs_the_copy_only(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    archive = pack_files(tmp_path / "a.tar.gz", SMALL)
    monkeypatch.setattr(sources, "from_package", lambda *_: archive)
    lines: list[str] = []
    vendor.fill(project, log=lines.append)
    assert is_pinned(project)
    assert any(line.startswith("warning: no copy kept") for line in lines)


def test_what_was_fetched_is_kept_for_the_next_clone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack_files(tmp_path / "a.tar.gz", SMALL)
    monkeypatch.setattr(sources, "from_package", lambda *_: archive)
    vendor.fill(project, log=quiet)
    assert kept(project).read_bytes() == archive.read_bytes()


def test_packed_tree_unpacks_to_itself(project: Path, tmp_path: Path) -> None:
    vendor.fill(project, archive=pack_files(tmp_path / "a.tar.gz", SMALL), log=quiet)
    (project / VENDOR / ".git").touch()
    sources.pack(project / VENDOR, tmp_path / "packed.tar.gz")
    sources.unpack(tmp_path / "packed.tar.gz", tmp_path / "out", entries_of(SMALL))
    assert tree.scan(tmp_path / "out") == entries_of(SMALL)
    assert all(os.access(tmp_path / "out" / path, os.X_OK) for path in EXECUTABLES)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = "sleep 60 & echo $! > child; wait"
    problem = sources.run(["sh", "-c", script], timeout=0.5, cwd=tmp_path, env=os.environ)
    assert problem == "no answer in 0.5 s"
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    deadline = time.monotonic() + 10  # a signal takes its time to arrive
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the child of a command that was ended still runs"
        time.sleep(0.05)
