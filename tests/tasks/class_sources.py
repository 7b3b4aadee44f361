"""Python classes as users write them, one topic each, and what stands at the head of their files."""

from __future__ import annotations

HEAD = """
import datetime as dt, decimal, enum, typing as t, uuid
from dataclasses import KW_ONLY, dataclass, field
from datetime import date as Day
from enum import Enum, IntEnum, StrEnum, auto
from typing import *
from annotated_types import Ge, Interval, Len, MinLen
from pydantic import *
from pydantic.alias_generators import to_camel, to_pascal
from pydantic.dataclasses import dataclass as checked
from typing_extensions import NotRequired, Required, TypedDict
"""
# (the class, the source): one topic each
CLASSES: dict[str, tuple[str, str]] = {
    "a tree": ("Node", """
class Node(BaseModel):
    label: str
    children: list["Node"] = []
"""),
    "comments with replies": ("Thread", """
class Comment(BaseModel):
    author: str
    text: str = Field(min_length=1)
    replies: "list[Comment] | None" = None
class Thread(BaseModel):
    subject: str
    comments: list[Comment]
"""),
    "two that hold each other": ("Team", """
class Person(BaseModel):
    name: str
    leads: Optional["Team"] = None
class Team(BaseModel):
    name: str
    members: list[Person]
    deputy: Person | None = None
"""),
    "an expression": ("Expr", """
class Number(BaseModel):
    kind: Literal["number"]
    value: float
class Sum(BaseModel):
    kind: Literal["sum"]
    terms: list[Annotated[Union["Number", "Sum"], Field(discriminator="kind")]]
class Expr(BaseModel):
    root: Annotated[Number | Sum, Field(discriminator="kind")]
    twin: t.Union[Number, Sum] = Field(..., discriminator="kind")
"""),
    "self": ("Folder", """
class Folder(BaseModel):
    name: str
    inner: list[Self]
"""),
    "generics": ("Report", """
T = TypeVar("T")
K = TypeVar("K", bound=int)
class Page(BaseModel, Generic[T]):
    items: list[T]
    total: int
class Pair(BaseModel, Generic[T, K]):
    one: T
    other: K
class Line(BaseModel):
    sku: str
class Tree(BaseModel, Generic[T]):
    value: T
    inner: list["Tree[T]"] = []
class Lines(Page[Line]):
    note: str = ""
class Report(BaseModel):
    lines: Lines
    days: Page[Day]
    pair: Pair[str, int]
    open: Pair
    numbers: Tree[int]
    words: Tree[str]
"""),
    "enumerations": ("Card", """
class Suit(str, Enum):
    HEARTS = "hearts"
    SPADES = "spades"
    def shown(self): return self.value
class Rank(IntEnum):
    ONE = auto()
    TWO = auto()
class Level(StrEnum):
    Low = auto()
    HIGH = "high"
class Mixed(Enum):
    A = "a"
    B = 2
class Words(str, Enum): ...
class Only(Words):
    IT = "it"
class Card(BaseModel):
    suit: Suit = Suit.HEARTS
    rank: Rank
    level: Level
    mixed: Mixed
    only: Only
    some: set[Suit]
    by_suit: dict[Suit, int]
    black: Literal[Suit.SPADES]
"""),
    "literals": ("Choice", """
Small = Literal["s", "m"]
class Choice(BaseModel):
    size: Small
    more: Literal[Small, "l"]
    one: Literal["x"]
    odd: Literal["x", None, 3, True]
    number: Literal[1, 2, 3] | None
"""),
    "bounds": ("Bounds", """
MOST = 40
CODE = r"^[A-Z]{3}$"
Code = Annotated[str, Field(pattern=CODE)]
Id = NewType("Id", int)
class Bounds(BaseModel):
    a: Annotated[int, Field(ge=1, le=MOST)]
    b: int = Field(gt=0, multiple_of=5)
    c: list[int] | None = Field(None, min_length=2, max_length=4)
    d: dict[str, int] = Field(min_length=1)
    e: Annotated[str, StringConstraints(min_length=2, max_length=9)]
    f: conint(ge=3) = 4
    g: constr(pattern="^x")
    h: conlist(str, min_length=1, max_length=3)
    i: list[Annotated[int, Ge(2)]]
    j: Annotated[list[str], Len(1, 4)]
    k: Annotated[int, Interval(ge=1, lt=9)] | None = None
    l: list[Code]
    m: Code | None = Field(None, description="A code")
    n: Id
    o: PositiveInt
    p: t.Annotated[t.Optional[t.List[str]], MinLen(1)] = None
    q: NonNegativeFloat
    r: float = Field(examples=[1.5], lt=2)
    s: Annotated[str, Field(min_length=1)] = Field("x", max_length=3)
"""),
    "kinds of values": ("Kinds", """
class Kinds(BaseModel):
    a: Day
    b: dt.datetime
    c: uuid.UUID
    d: bytes
    e: EmailStr
    f: HttpUrl
    g: SecretStr
    h: dt.timedelta
    i: dt.time
    j: Any
    k: tuple[int, ...]
    l: tuple[str, int]
    m: frozenset[str]
    n: Sequence[int]
    o: dict
    p: list
    q: Mapping[str, list[int]]
    r: dict[int, str]
    s: dict[Literal["a", "b"], int]
    t: dict[Annotated[str, Field(pattern="^k")], int]
    u: dict[Annotated[str, Field(max_length=4)], float]
    v: int | str | None = None
    w: None
    x: dict[str, dict[str, bool]]
    y: AwareDatetime
    z: object
"""),
    "defaults": ("Defaults", """
class Defaults(BaseModel):
    a: int
    b: int | None
    c: int = 3
    d: list[str] = Field(default_factory=list)
    e: str = Field(...)
    f: str = Field("x")
    g: Annotated[int, Field(ge=1)] = 2
    h: Annotated[int, Field(default=5)]
    i: ClassVar[int] = 3
    j: "ClassVar[str]" = "x"
    _k: int = PrivateAttr(3)
    l: str = Field(default=..., max_length=3)
    m: Optional[str] = Field(default=None, description="Said when known")
"""),
    "inheritance": ("Child", """
class Base(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: int
    name: str
class Left(Base):
    side: Literal["l", "r"] = "l"
    both: int
class Right(Base):
    name: str = "right"
    both: str
class Child(Left, Right):
    id: PositiveInt = 1
    own: Day
"""),
    "keys": ("Keys", """
class Inner(BaseModel):
    first_name: str
    line_2: str
class Keys(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    order_id: int
    ship_to: Inner
    fixed_one: str = Field(alias="fixed")
    other: str = Field(alias="no", validation_alias="yes")
    several: str = Field(validation_alias=AliasChoices("one", "two"))
    marked: Annotated[str, Field(alias="in_annotated")]
"""),
    "settings": ("Strict", """
class Inner(BaseModel, extra="forbid"):
    a: int
class Old(BaseModel):
    class Config:
        extra = "forbid"
    a: int
class Pascal(BaseModel):
    model_config = {"alias_generator": AliasGenerator(validation_alias=to_pascal)}
    some_key: int
class Strict(BaseModel):
    model_config = ConfigDict(extra="ignore")
    inner: Inner
    old: Old
    pascal: Pascal
"""),
    "root models": ("Shelf", """
class Tags(RootModel[list[str]]): ...
class Scores(RootModel):
    root: dict[str, int]
class Shelf(BaseModel):
    tags: Tags
    scores: Scores
"""),
    "nested classes": ("Order", """
class Order(BaseModel):
    class Line(BaseModel):
        class Unit(Enum):
            KG = "kg"
            G = "g"
        sku: str
        unit: Unit
    lines: list[Line]
    best: "Order.Line | None" = None
"""),
    "dataclasses": ("Trip", """
@dataclass
class Stop:
    city: str
    nights: int = 1
    seen: list[str] = field(default_factory=list)
@dataclass(kw_only=True)
class Trip:
    stops: list[Stop]
    _: KW_ONLY
    budget: decimal.Decimal | None = None
    back: Optional["Trip"] = None
"""),
    "pydantic's dataclasses": ("Stop", """
@checked
class Stop:
    city: str = Field(min_length=2)
    nights: Annotated[int, Field(ge=1)] = 1
"""),
    "typed dicts": ("Movie", """
class Base(TypedDict):
    title: Required[str]
    year: NotRequired[int]
class Movie(Base, total=False):
    rating: Annotated[float, Field(ge=0, le=10)]
    cast: Required[list[str]]
    sequel: "Movie"
"""),
}  # fmt: skip
