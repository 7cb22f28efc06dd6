"""The strategies make what they say: trees that can be images, with every oddity in reach."""

from __future__ import annotations

import stat
from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings

from iasfs.blob import SparseBlob
from iasfs.testing import content, names, trees
from iasfs.tree import Node, Tree
from iasfs.write.profile import EXTENT_SIZE, PACK_LIMIT


@given(trees())
def test_every_tree_can_be_an_image(tree: Tree) -> None:
    tree.check()


@given(trees(max_files=3, max_size=5000))
def test_limits_are_kept(tree: Tree) -> None:
    sizes = [node.content.size for _, node in tree.walk() if node.is_file]
    assert all(size <= 5000 for size in sizes)
    assert len(tree) <= 1 + 3 + 400


@given(names())
def test_every_name_can_be_one(name: bytes) -> None:
    assert 1 <= len(name) <= 255
    assert name not in (b".", b"..")
    assert not set(name) & {0, ord("/")}


def nodes(tree: Tree) -> list[Node]:
    return [node for _, node in tree.walk()]


ODDITIES: dict[str, Callable[[Tree], bool]] = {
    **{
        f"type {kind:o}": lambda tree, kind=kind: any(
            stat.S_IFMT(node.mode) == kind for node in nodes(tree)[1:]
        )
        for kind in (0o010000, 0o020000, 0o040000, 0o060000, 0o100000, 0o120000, 0o140000)
    },
    "hard link": lambda tree: len({id(node) for node in nodes(tree)}) < len(tree),
    "not UTF-8": lambda tree: any(b"\xff" in path for path, _ in tree.walk()),
    "longest name": lambda tree: any(len(path) > 255 for path, _ in tree.walk()),
    "longest link": lambda tree: any(len(node.target) == 4095 for node in nodes(tree)),
    "before 1970": lambda tree: any(node.mtime_ns < 0 for node in nodes(tree)),
    "nanoseconds": lambda tree: any(node.mtime_ns % 1_000_000_000 for node in nodes(tree)),
    "large owner": lambda tree: any(node.uid == (1 << 32) - 1 for node in nodes(tree)),
    "ACL": lambda tree: any(b"system.posix_acl_access" in node.xattrs for node in nodes(tree)),
    "sparse": lambda tree: any(isinstance(node.content, SparseBlob) for node in nodes(tree)),
    "pack limit": lambda tree: any(
        abs(node.content.size - PACK_LIMIT) <= 1 for node in nodes(tree)
    ),
    "extent": lambda tree: any(abs(node.content.size - EXTENT_SIZE) <= 1 for node in nodes(tree)),
    "large": lambda tree: any(node.content.size >= 2 * EXTENT_SIZE for node in nodes(tree)),
    "large directory": lambda tree: len(tree) > 300,
}


def test_every_oddity_is_in_reach() -> None:
    """Some hundred examples show each of them."""
    missing = dict(ODDITIES)

    @settings(max_examples=800, database=None, derandomize=True, phases=[Phase.generate])
    @given(trees())
    def look(tree: Tree) -> None:
        for what in [what for what, is_there in missing.items() if is_there(tree)]:
            del missing[what]

    look()
    assert list(missing) == []


@pytest.mark.parametrize("kind", ["zeros", "text", "random", "mixed", "sparse"])
@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_content_follows_from_its_arguments(kind: str, size: int) -> None:
    blob, again = content(size, kind, 1), content(size, kind, 1)
    assert blob.size == size
    assert bytes(blob.read_at(0, size)) == bytes(again.read_at(0, size))
