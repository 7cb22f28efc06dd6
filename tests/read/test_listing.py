"""``scandir``, ``walk`` and ``glob``, side by side with Linux below the same root."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from helpers import require_root
from iasfs.blob import BytesBlob
from iasfs.errors import FormatError
from iasfs.format import superblock
from iasfs.read.image import Image
from iasfs.tree import Tree
from rooted import Linux, inside, outcome
from trees import directory, file, image_of, packed, put_on_disk, symlink, tree_of


def listed_tree() -> Tree:
    """Directories, files and links of every kind, and names that patterns trip over."""
    files = {
        **{f"usr/bin/{name}": b"#!" for name in ("a", "b.py", "c.PY", ".hidden", "[x]", "é")},
        **{"usr/lib/deep/er/z.py": b"", "usr/lib/.config/secret.py": b"", ".profile": b""},
        **{"etc/conf.d/a.conf": b"", "etc/conf.d/b.conf": b"", "etc/a*b": b"", "etc/axb": b""},
    }
    links = {
        **{"bin": b"usr/bin", "usr/lib/bin": b"../bin", "etc/dangling": b"nowhere"},
        **{"etc/loop": b"loop", "etc/file": b"conf.d/a.conf", "usr/lib/up": b".."},
        **{"outside": b"../../usr/lib", "absolute": b"/etc", ".dots": b"usr"},
    }
    tree = tree_of({**files, **{path: symlink(target) for path, target in links.items()}})
    tree.add(b"usr/bin/\xff", file(b""))
    tree.add("empty", directory())
    return tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_root()
    path = tmp_path_factory.mktemp("listing") / "root"
    put_on_disk(listed_tree(), path)
    return path


@pytest.fixture(scope="module")
def image() -> Image:
    return image_of(listed_tree())


# --- scandir ------------------------------------------------------------------------------------

PLACES = ["/", ".", "", "etc", "etc/", "usr/bin", b"usr/bin", "absolute/", "outside/deep/..", "bin"]
PLACES += ["absent", "etc/axb", "etc/loop", "etc/dangling", b"absent"]


def test_entries_are_those_of_linux(root: Path, image: Image) -> None:
    """Their names, paths and types, links followed or not, and what they raise."""

    def ask(files: Any) -> list[Any]:
        found: list[Any] = []
        for place in PLACES:
            entries = outcome(files, "scandir", place)
            if not isinstance(entries, tuple):
                with entries:
                    entries = sorted(map(describe, entries))
            found.append(entries)
        return found

    def describe(entry: Any) -> list[Any]:
        facts: list[Any] = [entry.name, entry.path, os.fspath(entry), repr(entry)]
        facts.append(entry.is_symlink())
        for follow in (True, False):
            calls = ("is_dir", "is_file", "stat")
            answers = [outcome(entry, call, follow_symlinks=follow) for call in calls]
            if isinstance(answers[2], os.stat_result):
                answers[2] = answers[2].st_mode, answers[2].st_nlink
            facts += [answer[:2] if isinstance(answer, tuple) else answer for answer in answers]
        return facts

    assert ask(image) == inside(root, lambda: ask(Linux))


def test_entries_come_in_byte_order_with_their_inode(image: Image) -> None:
    with image.scandir("etc") as entries:
        found = list(entries)
    assert [entry.name for entry in found] == [
        *("a*b", "axb", "conf.d", "dangling", "file", "loop"),
    ]
    for entry in found:
        assert entry.inode() == image.lstat(entry.path).st_ino
        assert entry.stat(follow_symlinks=False) == image.lstat(entry)


def test_scandir_is_an_iterator_that_closes(image: Image) -> None:
    entries = image.scandir()
    assert next(entries).name == ".dots"
    assert iter(entries) is entries
    entries.close()
    assert list(entries) == []


# --- walk ---------------------------------------------------------------------------------------

Walked = dict[Any, tuple[list[Any], list[Any]]]


def walked(files: Any, top: Any, **options: Any) -> Walked:
    """What a walk shows, whatever its order."""
    found: Walked = {}
    for path, dirs, names in files.walk(top, **options):
        assert path not in found
        found[path] = sorted(dirs), sorted(names)
    return found


@pytest.mark.parametrize("topdown", [True, False])
@pytest.mark.parametrize("followlinks", [True, False])
@pytest.mark.parametrize("top", ["/", "usr", b"usr", "etc/", "absolute", ".", "absent", "etc/axb"])
def test_a_walk_is_that_of_linux(
    root: Path, image: Image, top: str | bytes, topdown: bool, followlinks: bool
) -> None:
    """With links followed too, round a loop until there are too many."""

    def ask(files: Any) -> Walked:
        return walked(files, top, topdown=topdown, followlinks=followlinks)

    assert ask(image) == inside(root, lambda: ask(Linux))


def test_a_walk_comes_in_byte_order() -> None:
    tree = tree_of({"b/x/1": b"", "b/a": b"", "a/y": b"", "a-": b"", "c": symlink(b"a")})
    image = image_of(tree)
    down = [
        ("/", ["a", "b", "c"], ["a-"]),
        ("/a", [], ["y"]),
        ("/b", ["x"], ["a"]),
        ("/b/x", [], ["1"]),
    ]
    assert list(image.walk()) == down
    up = [down[index] for index in (1, 3, 2, 0)]
    assert list(image.walk(topdown=False)) == up
    assert list(image.walk(Path("/b"))) == down[2:]


def test_the_caller_steers_a_walk(image: Image) -> None:
    """By changing the list of directories: some left out, the order, others put in."""
    seen = []
    for top, dirs, _ in image.walk("usr"):
        seen.append(top)
        if top == "usr":
            dirs[:] = ["lib", "absent", "lib/deep"]
        dirs[:] = [name for name in dirs if not name.startswith(".")]
    assert seen == [
        "usr",
        "usr/lib",
        "usr/lib/deep",
        "usr/lib/deep/er",
        "usr/lib/deep",
        "usr/lib/deep/er",
    ]
    for _, dirs, _ in image.walk("usr", topdown=False):
        dirs.clear()
    assert len(list(image.walk("usr", topdown=False))) == len(list(image.walk("usr")))


def test_errors_of_a_walk_go_to_the_caller(image: Image) -> None:
    errors: list[OSError] = []
    assert list(image.walk("absent", onerror=errors.append)) == []
    assert [(error.errno, error.filename) for error in errors] == [(errno.ENOENT, "absent")]

    def stop(error: OSError) -> None:
        raise error

    with pytest.raises(NotADirectoryError):
        list(image.walk("etc/axb", onerror=stop))


@pytest.mark.parametrize(("name", "leads_to"), [("/a", "/c"), ("/a/b", "/")])
def test_a_directory_with_two_names_ends_a_walk(name: str, leads_to: str) -> None:
    """As only a hostile image has it; it could be walked for ever, or nearly so."""
    data = packed(tree_of({"a/b": directory(), "c": directory()}))
    image = Image(BytesBlob(data))
    parent = image.inode(os.path.dirname(name))
    names = [entry.name for entry in image.directories.entries(parent)]
    block = bytes(image.directories.block(parent, 0))
    at = data.index(block) + 12 * names.index(os.path.basename(name).encode())
    nid = image.inode(leads_to).nid.to_bytes(8, "little")
    hostile = Image(BytesBlob(superblock.with_checksum(data[:at] + nid + data[at + 8 :])))
    with pytest.raises(FormatError, match="a second name of a directory"):
        list(hostile.walk())


# --- glob ---------------------------------------------------------------------------------------

PATTERNS = ["*", "*/", "*/*", "usr/*/*.py", "usr/bin/?", "bin/*", "usr/bin/[ab]*", "usr/bin/[!a]*"]
PATTERNS += ["usr/bin/[[]x]", "etc/a[*]b", "etc/a*b", ".*", ".*/*", "usr/lib/.config/*", "usr/*/.*"]
PATTERNS += ["/etc/*", "/", "/*", "", "etc", "etc/", "absent", "etc/axb/", "absent/*", "etc/axb/*"]
PATTERNS += ["etc/loop", "etc/dangling", "etc/dangling/*", "etc/loop/*", "./*", "../*", "*.d"]
PATTERNS += ["usr/../etc/*", "usr/bin/é", "usr/bin/\udcff", "usr/*/..", "absolute/*", "outside/*"]
DEEP = ["**", "**/", "**/*", "usr/**/*.py", "**/*.py", "**/deep/**", "**/**/z.py", "etc/**"]
DEEP += ["etc/**/", "**/.config/*", "/**/er", "**x", "/**", "usr/**/**", "./**", "**/er/.."]


def ask_glob(files: Any, pattern: str, **options: bool) -> list[str]:
    return sorted(set(outcome(files, "glob", pattern, **options)))


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("include_hidden", [True, False])
@pytest.mark.parametrize("patterns", [PATTERNS, DEEP], ids=["flat", "deep"])
def test_a_glob_is_that_of_linux(
    root: Path, image: Image, patterns: list[str], recursive: bool, include_hidden: bool
) -> None:
    if patterns is DEEP:  # here links make a difference; see below
        root = root.with_name("no-links")
        tree = without_links(listed_tree())
        image = image_of(tree)
        if not root.exists():
            put_on_disk(tree, root)
    options = {"recursive": recursive, "include_hidden": include_hidden}
    expected = inside(root, lambda: [ask_glob(Linux, pattern, **options) for pattern in patterns])
    for pattern, answer in zip(patterns, expected):
        found = image.glob(pattern, **options)
        assert sorted(found) == answer, pattern
        assert found == sorted(found, key=os.fsencode)


def without_links(tree: Tree) -> Tree:
    for path, node in list(tree.walk()):
        if node.is_symlink:
            tree.remove(path)
    return tree


def test_two_stars_do_not_follow_links(image: Image) -> None:
    """They see them, but do not look into them: there may be two that lead to each other."""
    assert image.glob("**/b.py", recursive=True) == ["usr/bin/b.py"]
    assert "bin" in image.glob("**", recursive=True)
    assert "bin/" in image.glob("**/", recursive=True)
    assert image.glob("absent/**", recursive=True) == []
