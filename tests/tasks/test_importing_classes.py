"""Classes of Python files, read by their syntax trees, say what pydantic says of the same classes."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from class_sources import CLASSES, HEAD
from pydantic import TypeAdapter

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError
from agentlora.tasks.structured_output.nodes import value_of
from agentlora.tasks.structured_output.sampling import Sampler
from agentlora.tasks.structured_output.schemas import read_schema
from agentlora.tasks.tool_calling.importing.python import import_class
from agentlora.tasks.tool_calling.importing.schemas import References
from agentlora.tasks.tool_calling.importing.source import import_tools


def ran(path: Path, name: str) -> Any:
    """The class itself, by running the file, which the importer never does."""
    module_name = f"run_{abs(hash(str(path)))}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return TypeAdapter(getattr(module, name))


def meaning(schema: Any) -> Any:
    """A schema in one form: what says the same is equal. Names, defaults and descriptions are no rules."""
    if isinstance(schema, list):
        return [meaning(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key not in
             ("title", "default", "description", "writeOnly", "$defs", "discriminator")}  # fmt: skip
    for key in ("properties", "patternProperties"):
        if key in found:
            found[key] = {name: meaning(part) for name, part in found[key].items()}
    for key in ("items", "additionalProperties", "propertyNames", "prefixItems"):
        if key in found:
            found[key] = meaning(found[key])
    if found.get("format") in ("path", "uuid4"):  # said as any text
        found = {"type": "string"}
    if found.get("additionalProperties") in (True, {}) or found.get("items") == {}:
        found = {key: value for key, value in found.items() if key not in ("additionalProperties", "items")}
    if isinstance(found.get("propertyNames"), dict):
        found["propertyNames"].pop("type", None)
    if "const" in found:
        found["enum"] = [found.pop("const")]
    found.pop("type", None) if "enum" in found else None
    kinds = found.pop("type", [])
    alternatives = [found | {"type": kind} for kind in kinds] if isinstance(kinds, list) and kinds else []
    if isinstance(kinds, str):
        found["type"] = kinds
    if alternatives:
        return {
            "anyOf": sorted(({"type": "null"} if a["type"] == "null" else a for a in alternatives), key=repr)
        }
    for key in ("anyOf", "oneOf"):
        if key in found:
            flat = [inner for part in map(meaning, found[key]) for inner in
                    (part["anyOf"] if part.keys() == {"anyOf"} else [part])]  # fmt: skip
            found[key] = sorted(flat, key=repr)
    if {"type": "number"} in found.get("anyOf", ()) and {"type": "string"} in found["anyOf"]:
        # a decimal, which may be a text too: a number is taken
        found["anyOf"] = [part for part in found["anyOf"] if part != {"type": "string"}]
    if found.get("format") == "uri":  # pydantic's are as long as a browser takes them
        found = {"type": "string", "format": "uri"}
    if len(found.get("anyOf", ())) == 1:
        found = found["anyOf"][0]
    if "required" in found:
        found["required"] = sorted(found["required"])
    return found


def unfolded(schema: Any) -> Any:
    return meaning(References(schema).unfolded(schema, again=2, end={"not": {}}))


@pytest.mark.parametrize("topic", CLASSES)
def test_a_class_says_what_pydantic_says_of_it(topic: str, tmp_path: Path) -> None:
    name, text = CLASSES[topic]
    path = tmp_path / "models.py"
    path.write_text(HEAD + text)
    ours, theirs = import_class(path, name), ran(path, name).json_schema()
    assert not json_schema.check_schema(ours)
    assert unfolded(ours) == unfolded(theirs)


@pytest.mark.parametrize("topic", sorted(CLASSES.keys() - {"kinds of values"}))  # nobody says bytes
def test_pydantic_takes_what_is_drawn_for_a_class(topic: str, tmp_path: Path) -> None:
    name, text = CLASSES[topic]
    path = tmp_path / "models.py"
    path.write_text(HEAD + text)
    sampler, rng, taken = (
        Sampler(read_schema(f"{path}:{name}"), "train", 0),
        random.Random(0),
        ran(path, name),
    )
    for _ in range(25):
        taken.validate_json(json.dumps(value_of(sampler.draw(rng))))


def test_a_class_that_contains_itself_stands_by_itself_as_pydantic_has_it(tmp_path: Path) -> None:
    path = tmp_path / "tree.py"
    path.write_text(HEAD + CLASSES["a tree"][1])
    assert import_class(path, "Node") == {
        "title": "Node",
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "label": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                },
                "required": ["label"],
            }
        },
    }
    sampler, rng = Sampler(read_schema(f"{path}:Node"), "train", 0), random.Random(0)
    drawn: list[Any] = [value_of(sampler.draw(rng)) for _ in range(200)]
    deep = [
        inner for value in drawn for child in value.get("children", ()) for inner in child.get("children", ())
    ]
    assert deep
    assert not any(inner.get("children") for inner in deep)


def test_classes_of_other_files_of_the_folder_are_found(tmp_path: Path) -> None:
    pack = tmp_path / "shop"
    (pack / "parts").mkdir(parents=True)
    for folder in (pack, pack / "parts"):
        (folder / "__init__.py").write_text("")
    (pack / "parts" / "__init__.py").write_text("from .places import Address as Place\n")
    (pack / "parts" / "places.py").write_text(
        "from __future__ import annotations\nfrom pydantic import BaseModel\nfrom shop import kinds\n"
        "class Address(BaseModel):\n    city: str\n    land: kinds.Land\n"
    )
    (pack / "kinds.py").write_text(
        "from enum import Enum\nclass Land(Enum):\n    NO = 'no'\n    SE = 'se'\nCODE = 'x+'\n"
    )
    (pack / "base.py").write_text(
        "from pydantic import BaseModel, ConfigDict\nclass Base(BaseModel):\n"
        "    model_config = ConfigDict(extra='forbid')\n    id: int\n"
    )
    (pack / "models.py").write_text(
        "from typing import TYPE_CHECKING, Annotated\nimport shop.kinds\nfrom pydantic import Field\n"
        "from .base import *\nfrom .parts import Place\n"
        "from . import kinds as k\nif TYPE_CHECKING:\n    from .parts.places import Address\n"
        "class Order(Base):\n    to: Place\n    via: 'list[Address]'\n    land: k.Land\n    other: shop.kinds.Land\n"
        "    code: Annotated[str, Field(pattern=k.CODE)]\n"
    )
    found = import_class(pack / "models.py", "Order")
    land = {"type": "string", "enum": ["no", "se"]}
    place = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "land": land},
        "required": ["city", "land"],
    }
    assert found["properties"]["to"] == place
    assert found["properties"]["via"] == {"type": "array", "items": place}
    assert found["properties"]["land"] == found["properties"]["other"] == land
    assert found["properties"]["code"] == {"type": "string", "pattern": "x+"}
    assert found["properties"]["id"] == {"type": "integer"}
    assert found["additionalProperties"] is False


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from elsewhere import Base\nclass M(Base, BaseModel):\n    a: int", "inherits from Base, which"),
        ("class M(BaseModel):\n    a: Unknown", "the type Unknown is not known"),
        ("class M(BaseModel):\n    a: Callable[[int], str]", "the type Callable"),
        ("def mine(n): ...\nclass M(BaseModel):\n    model_config = ConfigDict(alias_generator=mine)\n    a: int",
         "made by mine, which is not run"),
        ("def to_camel(n): ...\nclass M(BaseModel):\n    model_config = {'alias_generator': to_camel}\n    a: int",
         "made by to_camel, which is not run"),
        ("class M(BaseModel):\n    a: int = Field(alias='a' + 'b')", "alias 'a' . 'b' is not written out"),
        ("class M: ...", "no enumeration, dataclass"),
        ("class M(M, BaseModel):\n    a: N\nclass N(N, Enum): ...", "inherits from M, which"),
        ("T = TypeVar('T')\nclass M(BaseModel, Generic[T]):\n    a: 'M[list[T]]'", "leads to too many others|too deep"),
        ("A = dict[str, 'A']\nclass M(BaseModel):\n    a: A", "nested too deeply"),
        ("class A(B): ...\nclass B(A): ...\nclass M(A, BaseModel):\n    a: int", "leads to too many others"),
        ("class A(B, C): ...\nclass B(A, C): ...\nclass C(A, B): ...\nclass M(A, BaseModel):\n    a: int",
         "leads to too many|unfold to more than"),
        ("\n".join(["A0 = int", *(f"A{n} = tuple[{', '.join([f'A{n - 1}'] * 9)}]" for n in range(1, 18))])
         + "\nclass M(BaseModel):\n    a: A17", "unfold to more than 20,000 parts"),
        ("T = TypeVar('T')\nclass M(BaseModel, Generic[T]):\n    a: 'M[tuple[T, T, T, T, T, T, T, T, T]]'",
         "stand for is too large"),
        ("A = B\nB = A\nclass M(BaseModel):\n    a: Literal[A]", "not written out"),
        ("A = Literal[A, A]\nclass M(BaseModel):\n    a: A", "unfold"),
        ("class M(BaseModel):\n    a: list[()]", "M: "),
        ("raise SystemExit('run!')\nclass M(BaseModel):\n    a: int = Field(le=N)\n    b: " + "list[" * 60
         + "int" + "]" * 60,
         "nested too deeply"),
    ],
)  # fmt: skip
def test_what_a_class_cannot_say_is_told(source: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    path.write_text(HEAD + source)
    with pytest.raises(DataError, match=said):
        import_class(path, "M")


def test_files_that_import_each_other_end(tmp_path: Path) -> None:
    stars = "\n".join(f"from m{n} import *" for n in range(30))
    for n in range(30):
        (tmp_path / f"m{n}.py").write_text(stars)
    (tmp_path / "models.py").write_text(
        f"{stars}\nfrom pydantic import BaseModel\nclass M(BaseModel):\n    a: Nowhere"
    )
    with pytest.raises(DataError, match="the type Nowhere is not known"):
        import_class(tmp_path / "models.py", "M")


def test_tools_take_classes_that_contain_themselves_a_step_deep(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(HEAD + CLASSES["a tree"][1] + "def plant(tree: Node): 'Plants.'\n")
    (tool,) = import_tools(str(tmp_path / "tools.py")).tools
    tree = {"type": "object", "properties": {"label": {"type": "string"}, "children": {"type": "array", "items":
            {"type": "object"}}}, "required": ["label"]}  # fmt: skip
    assert tool.parameters == {"type": "object", "properties": {"tree": tree}, "required": ["tree"]}


def test_what_nobody_gives_is_no_field(tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    path.write_text(
        HEAD + "@dataclass\nclass M:\n    a: int\n    b: int = field(init=False)\n    c: ClassVar[int] = 1"
    )
    assert list(import_class(path, "M")["properties"]) == ["a"]


def test_descriptions_come_from_fields_and_docstrings(tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    path.write_text(
        HEAD
        + 'class M(BaseModel):\n    """A thing.\n\n    Attributes:\n        a: How many\n            are.\n    """\n'
        "    a: int\n    b: Annotated[str, Field(description='The\\n second')]\n"
        "    c: list[int] = Field([], description='All')\n"
    )
    found = import_class(path, "M")
    assert found["description"].startswith("A thing.")
    said = {name: part["description"] for name, part in found["properties"].items()}
    assert said == {"a": "How many are.", "b": "The second", "c": "All"}


def test_nested_classes_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    path.write_text(HEAD + CLASSES["nested classes"][1])
    assert read_schema(f"{path}:Order.Line").schema["required"] == ["sku", "unit"]
    with pytest.raises(DataError, match=r"no class 'Order\.Lime'"):
        read_schema(f"{path}:Order.Lime")
