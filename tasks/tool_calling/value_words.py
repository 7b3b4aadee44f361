"""What people say for the values of enumerations and for yes-or-no parameters, in other words than the schema's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentlora.tasks.tool_calling.api_values import enum_words
from agentlora.tasks.wording import Pair

# a value in words → what is said for it; the second are dev's and test's
SYNONYMS: dict[str, Pair] = {
    "all": (("everything", "every one of them"), ("the whole lot",)),
    "asc": (("ascending", "from low to high"), ("increasing",)),
    "ascending": (("rising", "from low to high"), ("increasing",)),
    "approved": (("accepted", "given the go-ahead"), ("signed off",)),
    "bicycle": (("bike", "cycle"), ("pushbike",)),
    "bicycling": (("by bike", "cycling"), ("on two wheels",)),
    "bug": (("defect", "error"), ("malfunction",)),
    "cancelled": (("called off", "withdrawn"), ("scrapped",)),
    "canceled": (("called off", "withdrawn"), ("scrapped",)),
    "car": (("automobile",), ("motorcar",)),
    "cash": (("notes and coins", "banknotes"), ("hard money",)),
    "celsius": (("centigrade", "°C"), ("degrees C",)),
    "cheap": (("inexpensive", "low-cost"), ("affordable",)),
    "closed": (("shut",), ("no longer open",)),
    "completed": (("finished", "done"), ("wrapped up",)),
    "critical": (("extremely serious",), ("dire",)),
    "daily": (("every day", "once a day"), ("each day",)),
    "delivered": (("handed over", "arrived"), ("dropped off",)),
    "desc": (("descending", "from high to low"), ("decreasing",)),
    "descending": (("falling", "from high to low"), ("decreasing",)),
    "done": (("finished", "completed"), ("wrapped up",)),
    "driving": (("by car",), ("behind the wheel",)),
    "email": (("e-mail", "electronic mail"), ("a message to the inbox",)),
    "express": (("the fast way", "high-speed"), ("rush",)),
    "failed": (("gone wrong", "unsuccessful"), ("broken off",)),
    "fahrenheit": (("°F",), ("degrees F",)),
    "fast": (("quick", "speedy"), ("rapid",)),
    "female": (("woman", "lady"), ("feminine",)),
    "high": (("elevated", "above normal"), ("raised",)),
    "hourly": (("every hour", "once an hour"), ("each hour",)),
    "imperial": (("feet and pounds", "miles and pounds"), ("inches and ounces",)),
    "large": (("big",), ("sizeable",)),
    "left": (("the left-hand side",), ("port side",)),
    "low": (("minor", "below normal"), ("slight",)),
    "male": (("man", "gentleman"), ("masculine",)),
    "medium": (("middling", "average"), ("in between",)),
    "metric": (("metres and kilos", "kilometres and kilos"), ("centimetres and grams",)),
    "monthly": (("every month", "once a month"), ("each month",)),
    "none": (("nothing", "not any"), ("nil",)),
    "normal": (("ordinary", "usual"), ("regular",)),
    "off": (("switched off", "out"), ("not running",)),
    "on": (("switched on",), ("up and running",)),
    "paid": (("settled",), ("paid up",)),
    "paused": (("on hold",), ("suspended for now",)),
    "pending": (("waiting", "not decided yet"), ("up in the air",)),
    "phone": (("telephone",), ("the telephone line",)),
    "premium": (("top of the range", "de luxe"), ("high-end",)),
    "private": (("not for the public", "hidden from others"), ("behind closed doors",)),
    "processing": (("being worked on",), ("under way",)),
    "public": (("for everyone to see", "open to everyone"), ("out in the open",)),
    "rejected": (("turned down", "refused"), ("knocked back",)),
    "right": (("the right-hand side",), ("starboard side",)),
    "shipped": (("sent out", "on its way"), ("dispatched",)),
    "sick": (("ill", "unwell"), ("poorly",)),
    "slow": (("unhurried",), ("leisurely",)),
    "small": (("little",), ("tiny",)),
    "sms": (("text message", "a text to the phone"), ("a text",)),
    "stopped": (("halted",), ("brought to a halt",)),
    "transit": (("public transport", "bus and train"), ("buses and trams",)),
    "unpaid": (("still owed",), ("outstanding",)),
    "urgent": (("very pressing", "that cannot wait"), ("a matter of minutes",)),
    "vacation": (("holiday", "time off"), ("a trip away",)),
    "vip": (("very important", "most valued"), ("top-tier",)),
    "walking": (("on foot",), ("a stroll",)),
    "weekly": (("every week", "once a week"), ("each week",)),
    "yearly": (("every year", "once a year"), ("each year",)),
}
# codes that only mean this where all of an enumeration's values are of one list
CODES: tuple[Mapping[str, str], ...] = (
    {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
     "nl": "Dutch", "sv": "Swedish", "da": "Danish", "no": "Norwegian", "fi": "Finnish", "pl": "Polish",
     "cs": "Czech", "ja": "Japanese", "ko": "Korean", "zh": "Chinese", "ar": "Arabic", "ru": "Russian",
     "tr": "Turkish", "hi": "Hindi", "uk": "Ukrainian", "el": "Greek"},
    {"de": "Germany", "fr": "France", "us": "the United States", "gb": "the United Kingdom", "uk": "the UK",
     "es": "Spain", "it": "Italy", "nl": "the Netherlands", "be": "Belgium", "at": "Austria", "ch": "Switzerland",
     "pl": "Poland", "pt": "Portugal", "se": "Sweden", "no": "Norway", "dk": "Denmark", "fi": "Finland",
     "jp": "Japan", "in": "India", "br": "Brazil", "ca": "Canada", "au": "Australia", "mx": "Mexico", "ie": "Ireland"},
    {"eur": "euros", "usd": "US dollars", "gbp": "British pounds", "jpy": "Japanese yen", "chf": "Swiss francs",
     "sek": "Swedish kronor", "nok": "Norwegian kroner", "dkk": "Danish kroner", "pln": "Polish zloty",
     "cad": "Canadian dollars", "aud": "Australian dollars", "inr": "Indian rupees", "brl": "Brazilian reais",
     "cny": "Chinese yuan"},
    {"xs": "extra small", "s": "small", "m": "medium", "l": "large", "xl": "extra large",
     "xxl": "double extra large"},
    {"mon": "Monday", "tue": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "fri": "Friday", "sat": "Saturday",
     "sun": "Sunday"},
    {"jan": "January", "feb": "February", "mar": "March", "apr": "April", "may": "May", "jun": "June",
     "jul": "July", "aug": "August", "sep": "September", "oct": "October", "nov": "November", "dec": "December"},
)  # fmt: skip
LANGUAGES, COUNTRIES, SIZES = (
    CODES[0],
    CODES[1],
    CODES[3],
)  # "de" is of the first two, and the parameter's name decides


def other_words(values: Sequence[str], name: tuple[str, ...], held_out: bool) -> list[tuple[str, str]]:
    """(what is said, the value) for values of an enumeration: words that none of the others could be said by.

    Args:
        name: the words of the parameter's name.
        held_out: in the words of dev and test, where there are any.
    """
    codes = _codes(values, name)
    if codes:
        return [(codes[value.lower()], value) for value in values]
    known = {value: enum_words(value).lower() for value in values}
    sayings = {
        value: {words, *(s for part in SYNONYMS.get(words, ()) for s in part)}
        for value, words in known.items()
    }
    found = []
    for value, words in known.items():
        shared, new = SYNONYMS.get(words, ((), ()))
        others = [s for other, theirs in sayings.items() if other != value for s in theirs]
        found += [
            (said, value)
            for said in (new if held_out else shared)
            if not any(_close(said, o) or _close(words, o) for o in others)
        ]
    return found


def _codes(values: Sequence[str], name: tuple[str, ...]) -> Mapping[str, str]:
    """The list that has all of two or more values; of several lists the one that the name speaks of."""
    lists = [codes for codes in CODES if len(values) > 1 and all(value.lower() in codes for value in values)]
    named = {"language", "languages", "lang", "locale"} & set(name), {"country", "countries"} & set(name)
    if "size" not in name:
        lists = [codes for codes in lists if codes is not SIZES]  # "s" and "m" are seconds and minutes too
    if any(named):
        lists = [codes for codes in lists if codes is (LANGUAGES if named[0] else COUNTRIES)]
    return lists[0] if len(lists) == 1 else {}


def _close(said: str, other: str) -> bool:
    """Whether one of two sayings might be meant by the other: all of its words are in it."""
    words, others = set(said.lower().split()), set(other.lower().split())
    return words <= others or others <= words


@dataclass(frozen=True, slots=True)
class Flag:
    """A yes-or-no parameter in plain words. `names`: what it is called, `opposite`: what the parameter is called that
    is true where this is false. `about`: words of parameters that the same words might be meant for. `finds`: it can be
    said of what is looked for, and not only of what is made or changed.
    """

    names: str
    opposite: str
    about: str
    yes: Pair
    no: Pair
    finds: bool = False


FLAGS = (
    Flag("private|hidden|secret", "public|visible", "private hidden secret public visible visibility access",
         (("that only I can see", "for my eyes only", "that nobody else gets to see"), ("closed to everybody else",)),
         (("that everybody can see", "open to everyone"), ("for all the world to see",)), finds=True),
    Flag("draft", "publish|published", "draft publish published status state",
         (("but don't let it go live yet", "that stays unpublished for now"), ("that isn't out yet",)),
         (("and let it go live", "that goes live right away"), ("that is out at once",))),
    Flag("urgent", "", "urgent priority urgency express rush",
         (("and it cannot wait", "as soon as possible"), ("and time is short",)),
         (("and there is no hurry", "and it can wait"), ("whenever there is time",))),
    Flag("express|rush|expedited|express shipping|express delivery", "",
         "express rush expedited urgent priority shipping delivery speed",
         (("by the fastest way there is", "and send it as fast as you can"), ("by overnight courier",)),
         (("and the slow way will do", "by ordinary post"), ("in no hurry",))),
    Flag("gift|gift wrap|gift wrapped|gift wrapping", "", "gift present wrap wrapped wrapping",
         (("wrapped as a present", "and it's a present for somebody"), ("with a bow around it",)),
         (("and it's for myself", "without any fancy paper"), ("in a plain box",))),
    Flag("dry run|simulate", "", "dry simulate preview test",
         (("but only pretend to", "but don't really change anything"), ("just as a rehearsal",)),
         (("for real this time", "and really do it"), ("and I mean it",))),
    Flag("force", "", "force overwrite confirm ignore replace",
         (("no matter what", "even if it complains"), ("come what may",)),
         (("unless something stands in the way", "but stop if it complains"), ("only if all is well",))),
    Flag("overwrite|replace existing", "", "overwrite replace force upsert merge append",
         (("even if it takes the place of an old one",), ("on top of what is there",)),
         (("but leave alone what is there already",), ("without touching what is there",))),
    Flag("recursive", "", "recursive depth subfolders subdirectories children nested",
         (("with everything below it", "subfolders and all"), ("all the way down",)),
         (("but only the top level",), ("and nothing below it",)), finds=True),
    Flag("notify|notify users|notify customer|send notification|send notifications", "silent",
         "notify notification notifications silent quiet alert",
         (("and let them know", "and tell everybody concerned"), ("and drop them a line",)),
         (("without telling anybody", "without letting them know"), ("on the quiet",))),
    Flag("anonymous", "", "anonymous author reporter",
         (("without saying who I am", "and keep my name out of it"), ("as an unknown person",)),
         (("under my own name", "and say that it is from me"), ("and sign it for me",))),
    Flag("round trip|return trip", "one way", "round return way trip",
         (("there and back",), ("out and home again",)),
         (("just the way there", "without coming back"), ("single, not return",)), finds=True),
    Flag("read only", "writable|editable", "read write writable editable locked",
         (("so that nobody can change it", "for looking at only"), ("that can't be touched",)),
         (("so that it can still be changed",), ("that may be touched",))),
    Flag("open now", "", "open now hours",
         (("that haven't closed yet", "where I can still get in"), ("that I could walk into this minute",)),
         ((), ()), finds=True),
    Flag("vegetarian", "", "vegetarian vegan diet dietary meat",
         (("without meat", "with no meat or fish"), ("of vegetables only",)),
         (("with meat", "and meat is fine"), ("for meat eaters",)), finds=True),
    Flag("enabled|active", "disabled", "enabled active disabled inactive status state on off",
         (("and switch it on", "and get it going"), ("so that it runs",)),
         (("and leave it switched off", "but don't switch it on yet"), ("but not running",))),
    Flag("async|background|run in background", "wait|wait for completion|blocking",
         "async background wait blocking completion sync",
         (("and don't hang around until it ends",), ("and carry on meanwhile",)),
         (("and hang on until it ends",), ("and hold on till it is through",))),
    Flag("case sensitive|match case", "ignore case|case insensitive", "case sensitive insensitive",
         (("minding capitals",), ("with capitals and small letters told apart",)),
         (("whether in capitals or not",), ("no matter how it is capitalised",)), finds=True),
)  # fmt: skip
_LEADING = ("is", "make", "set", "be", "should", "mark", "as")


def plain_words(
    name: tuple[str, ...], others: Sequence[tuple[str, ...]], finding: bool, held_out: bool
) -> list[tuple[str, bool]]:
    """(what is said, yes or no) for a yes-or-no parameter; empty where its name has no row, or another parameter is
    about the same.

    Args:
        others: the words of the tool's other parameters.
        finding: the tool looks for something.
        held_out: in the words of dev and test.
    """
    words = name[1:] if name[0] in _LEADING and name[1:] else name
    said = " ".join(words)
    for flag in FLAGS:
        opposite = said in flag.opposite.split("|")
        if opposite or said in flag.names.split("|"):
            if (finding and not flag.finds) or any(set(flag.about.split()) & set(other) for other in others):
                return []
            yes, no = flag.yes[held_out], flag.no[held_out]
            return [*((s, not opposite) for s in yes), *((s, opposite) for s in no)]
    return []
