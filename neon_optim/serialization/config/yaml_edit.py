"""Changes of a tree of YAML nodes that keep what its anchors name."""

from __future__ import annotations

from neon_optim.serialization.config.yaml_nodes import Alias, List, Map, Scalar, YamlNode
from neon_optim.serialization.config.yaml_tree import merge_sources

__all__ = ["find", "merge", "own", "put", "reference", "replace"]


def replace(root: YamlNode, old: YamlNode | None, new: YamlNode) -> None:
    """Let the aliases of an anchored value name its replacement."""
    if old is None or not old.used:
        return
    new.anchor, new.used = old.anchor, True
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Alias):
            node.target = new if node.target is old else node.target
        elif isinstance(node, Map):
            waiting += [value for _, value in node.pairs]
        elif isinstance(node, List):
            waiting += node.items


def own(node: YamlNode) -> YamlNode:
    """The node itself where it is defined here; a copy of what it names where it is an alias."""
    if isinstance(node, Alias):
        target = node.target
        if isinstance(target, Map):
            return Map(target.position, [(key, reference(value)) for key, value in target.pairs])
        if isinstance(target, List):
            return List(target.position, [reference(item) for item in target.items])
        return target
    return node


def reference(node: YamlNode) -> YamlNode:
    return node if isinstance(node, Alias) else Alias(node.position, node)


def find(node: Map, key: str) -> YamlNode | None:
    """The value of a key, merged ones included."""
    seen: set[int] = set()
    waiting: list[YamlNode] = [node]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, Map) or id(current) in seen:
            continue
        seen.add(id(current))
        found = current.get(key)
        if found is not None:
            return found if current is node else reference(found)
        waiting += [
            item for name, value in current.pairs if name.value == "<<" for item in merge_sources(value)
        ]
    return None


def put(node: Map, key: str, value: YamlNode, key_node: Scalar | None = None) -> None:
    """Set a key; of one that stands twice, all.

    Arguments:
        key_node: the key as it stands where it is set; None: as it stands in the mapping.
    """
    places = [index for index, (name, _) in enumerate(node.pairs) if name.value == key]
    for index in places:
        node.pairs[index] = (key_node or node.pairs[index][0], value)
    if not places:
        node.pairs.append((key_node or Scalar(value.position, key), value))


def merge(base: Map, more: Map) -> None:
    """Change a tree as another says that extends it.

    Mappings are merged key by key, all else is replaced; so is a description by that of another class. What an anchor
    names in the one or the other goes on to be named by it.
    """
    _merge_into(base, base, more, more)


def _merge_into(base: Map, here: Map, root: Map, more: Map, path: str = "") -> None:
    for key, value in _with_merged(more):
        there = find(here, key.value)
        new, old = _named(value), _named(there)
        if isinstance(new, Map) and isinstance(old, Map) and not _is_other(path or key.value, old, new):
            child = own(there) if there is not None else old
            put(here, key.value, child, key)
            if new.used:
                for tree in (base, root):
                    replace(tree, new, child)
            if isinstance(child, Map):
                _merge_into(base, child, root, new, f"{path}.{key.value}")
        else:
            replace(base, here.get(key.value), value)
            put(here, key.value, value, key)


def _named(node: YamlNode | None) -> YamlNode | None:
    return node.target if isinstance(node, Alias) else node


def _with_merged(node: Map) -> list[tuple[Scalar, YamlNode]]:
    """The pairs of a mapping, those that `<<` brings in behind its own."""
    found = [(key, value) for key, value in node.pairs if key.value != "<<" or key.quoted]
    names = {key.value for key, _ in found}
    for key, value in node.pairs:
        if key.value == "<<" and not key.quoted:
            for source in merge_sources(value):
                for name, item in _with_merged(source) if isinstance(source, Map) else ():
                    if name.value not in names:
                        names.add(name.value)
                        found.append((name, reference(item)))
    return found


def _is_other(path: str, old: Map, new: Map) -> bool:
    """Whether two mappings describe objects of different classes."""
    naming = ("type", "name") if path == "dataset" else ("type",)
    before, after = (
        {value.value for key, value in node.pairs if key.value in naming and isinstance(value, Scalar)}
        for node in (old, new)
    )
    return bool(before and after) and before != after
