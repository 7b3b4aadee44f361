"""Texts that records are full of, by what a part of the schema is called: people, goods, companies, places, remarks."""

from __future__ import annotations

import random
import re

POOL = 40
LONGEST = 400  # characters of one text
SHORT = 8  # characters of what is a code rather than words

FIRST = (
    "Amelia", "Bruno", "Carla", "Dmitri", "Edith", "Farah", "Gustav", "Hiroko", "Imran", "Jelena", "Kwame", "Lucia",
    "Mateo", "Nadia", "Oskar", "Pilar", "Quentin", "Rosa", "Stefan", "Tara", "Umar", "Vera", "Wendy", "Xavier",
    "Yusuf", "Zofia", "Anders", "Beatriz", "Chidi", "Delphine",
)  # fmt: skip
LAST = (
    "Abbott", "Bergström", "Castellano", "Dvorak", "Eriksen", "Fontaine", "Goldberg", "Hassan", "Ivanova", "Jackson",
    "Kowalski", "Lindqvist", "Moreau", "Nakamura", "O'Brien", "Petrov", "Quiroga", "Rossi", "Schmidt", "Tanaka",
    "Ueda", "van Dijk", "Walsh", "Yilmaz", "Zimmermann",
)  # fmt: skip
KINDS_OF = (
    "blue", "large", "wooden", "stainless steel", "cotton", "wireless", "folding", "organic", "leather", "ceramic",
    "small", "red", "waterproof", "second-hand", "striped", "heavy-duty", "glass", "portable",
)  # fmt: skip
GOODS = (
    "mug", "desk lamp", "notebook", "water bottle", "backpack", "office chair", "phone case", "keyboard", "blanket",
    "coffee grinder", "umbrella", "tent", "bicycle pump", "headphones", "cutting board", "picture frame", "drill",
    "garden hose", "tea towel", "wall clock", "rucksack", "candle", "screwdriver set", "door mat", "toaster",
)  # fmt: skip
FIRMS = (
    "Harbour", "Northgate", "Bluebird", "Ashfield", "Silverline", "Merlin", "Redwood", "Lighthouse", "Meridian",
    "Foxglove", "Granite", "Juniper", "Stonebridge", "Cascade", "Amber", "Polaris",
)  # fmt: skip
TRADES = (
    "Foods", "Logistics", "Bakery", "Systems", "Textiles", "Motors", "Consulting", "Ltd", "GmbH", "& Sons", "Studio",
    "Hotels", "Medical", "Press", "Energy", "Eye Clinic", "Travel",
)  # fmt: skip
CITIES = (
    "Oslo", "Turin", "Linz", "Kraków", "Bilbao", "Valencia", "Boston", "Lausanne", "Gdańsk", "Sheffield", "Rennes",
    "Seville", "Turku", "Stavanger", "Ottawa", "Brisbane", "Nagoya", "Limerick", "Eindhoven", "Delft",
)  # fmt: skip
COUNTRIES = (
    "Norway", "Belgium", "Italy", "Sweden", "Portugal", "Austria", "Poland", "France", "Ireland", "Spain", "Finland",
    "Switzerland", "Canada", "Australia", "Japan", "Brazil", "Kenya", "Chile",
)  # fmt: skip
STREETS = (
    "Mill Lane", "Station Road", "Harbour Street", "Rue des Lilas", "Gartenweg", "Via Roma", "Church Hill",
    "Poplar Avenue", "Kanaalstraat", "Calle Mayor", "Castle Terrace", "Bridge Street",
)  # fmt: skip
JOBS = (
    "nurse", "electrician", "project manager", "data analyst", "chef", "account executive", "welder", "librarian",
    "software engineer", "bus driver", "head of sales", "research assistant", "carpenter", "receptionist",
)  # fmt: skip
SUBJECTS = (
    "broken screen", "late delivery", "missing parts", "password reset", "wrong size", "billing question",
    "leaking pipe", "team lunch", "spring cleaning", "road works", "photo competition", "choir practice",
    "annual inspection", "new opening hours", "lost luggage", "slow internet", "parking permit", "school trip",
)  # fmt: skip
REMARKS = (
    "please ring the bell twice", "leave it with the neighbour", "the box was already open", "call me before you come",
    "it makes a grinding noise", "no nuts, please", "the second key is missing", "paid in cash on the day",
    "prefers a morning slot", "gift for my sister", "the label is hard to read", "arrived wet and dented",
    "needs a ramp for a wheelchair", "keep it cool", "same as last time", "deliver to the back door",
    "the colour differs from the photo", "was promised a discount", "allergic to penicillin", "not before noon",
)  # fmt: skip
DISHES = (
    "lentil soup", "mushroom risotto", "apple crumble", "chicken curry", "Greek salad", "pumpkin pie", "fish tacos",
    "beetroot burger", "onion tart", "ramen", "pancakes", "goulash",
)  # fmt: skip
SKILLS = (
    "Python", "welding", "project planning", "French", "first aid", "copywriting", "SQL", "negotiation", "carpentry",
    "public speaking", "bookkeeping", "photo editing", "forklift driving", "Kubernetes",
)  # fmt: skip
TAGS = (
    "urgent", "travel", "kitchen", "finance", "outdoor", "vintage", "sale", "health", "music", "garden", "school",
    "winter", "family", "research", "local",
)  # fmt: skip
COLOURS = ("red", "navy", "olive", "white", "black", "turquoise", "beige", "purple", "silver", "mustard")

_PERSON = (
    "customer|client|person|patient|guest|author|employee|contact|buyer|seller|companion|recipient|sender|student|teacher|doctor|"
    "passenger|driver|tenant|owner|applicant|candidate|attendee|participant|reviewer|speaker|manager|user|member|"
    "cardholder|organizer|organiser|organizers|attendees|holder|actor|director|nurse|supplier contact"
)
_FIRM = (
    "company|firm|organi[sz]ation|employer|merchant|vendor|supplier|manufacturer|brand|shop|store|airline|bank|insurer|"
    "carrier|restaurant|hotel|clinic|garage|publisher|agency"
)
_REMARK = (
    "note|notes|remark|remarks|comment|comments|reason|message|instruction|instructions|description|details?|complaint|"
    "symptoms?|summary|feedback|request|requests|wish|wishes"
)
# what the words of a part match → who draws it; the first that fits counts. <of> is what it is part of
_RULES: tuple[tuple[str, str, str], ...] = (
    (r".*\b(first|given|fore) ?name", "", "first"),
    (r".*\b(last|family|sur) ?name", "", "last"),
    (rf".*\b({_FIRM})( name)?", "", "firm"),
    (rf"(.*\b)?({_PERSON})( name)?|full name|assigned to|signed by", "", "person"),
    (r"name", rf"(.*\b)?({_PERSON})", "person"),
    (r"name", rf".*\b({_FIRM})", "firm"),
    (r"(.*\b)?(dish|meal|recipe|course)( name)?", "", "dish"),
    (r"name", r".*\b(dish|meal|recipe|course)", "dish"),
    (r"(.*\b)?(product|item|article|goods|part|material|equipment|device)( name)?", "", "good"),
    (r"name|title|description", r".*\b(product|item|article|line|part|material|device|entry)", "good"),
    (r".*\b(city|town|birthplace|origin|destination|from|to|venue|location|place)", "", "city"),
    (r".*\bcountry", "", "country"),
    (r"(.*\b)?(street|address|address line( \d)?|line ?\d|street address)", "", "street"),
    (r".*\b(postcode|postal code|zip|zip code)", "", "postcode"),
    (r".*\b(job title|job|position|occupation|profession|role)", "", "job"),
    (r".*\b(skill|skills|qualification|expertise)", "", "skill"),
    (r".*\b(tag|tags|keyword|keywords|label|labels|topic|topics|category|genre|interest|hobby)", "", "tag"),
    (r".*\b(colou?r)", "", "colour"),
    (rf".*\b({_REMARK})", "", "remark"),
    (r".*\b(subject|title|topic|heading|headline|issue|problem|event|event name|agenda|project)", "", "subject"),
    (r".*\b(sku|code|reference|ref|number|no|nr|id|identifier|serial|isbn|plate|iban|policy|ticket)", "", "code"),
    (r"name", "", "thing"),
)  # fmt: skip


def fitted(least: int, most: int | None, rng: random.Random) -> list[str]:
    """Some texts of at least `least` and at most `most` characters; empty where they would be too long to be said."""
    most = LONGEST if most is None else min(int(most), LONGEST)
    if least > most:
        return []
    found = []
    for _ in range(POOL):
        if most <= SHORT:
            text = "".join(
                rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(rng.randint(max(1, least), max(1, most)))
            )
        else:
            text = rng.choice(REMARKS if least > SHORT else TAGS)
            while len(text) < least:
                text = f"{text}, {rng.choice(REMARKS)}"
            text = text[:most].strip(" ,")
        found += [text] if least <= len(text) <= most else []
    return list(dict.fromkeys(found))


def named_like(words: tuple[str, ...], noun: tuple[str, ...], rng: random.Random) -> list[str]:
    """Some texts for a part called `words` of a thing called `noun`; empty where nothing is known of such."""
    kind = named(words, noun)
    return list(dict.fromkeys(_drawn(kind, rng) for _ in range(POOL))) if kind else []


def named(words: tuple[str, ...], noun: tuple[str, ...]) -> str:
    """What kind of text a part called `words` of a thing called `noun` is; empty where nothing is known of such."""
    said, of = " ".join(words), " ".join(noun)
    for pattern, within, kind in _RULES:
        if re.fullmatch(pattern, said) and (not within or re.fullmatch(within, of)):
            return kind
    return ""


def _drawn(kind: str, rng: random.Random) -> str:
    pick = rng.choice
    if kind == "first":
        return pick(FIRST)
    if kind == "last":
        return pick(LAST)
    if kind == "person":
        return f"{pick(FIRST)} {pick(LAST)}"
    if kind == "firm":
        return f"{pick(FIRMS)} {pick(TRADES)}"
    if kind == "good":
        return f"{pick(KINDS_OF)} {pick(GOODS)}" if rng.random() < 0.7 else pick(GOODS)
    if kind == "street":
        number = rng.randint(1, 199)
        return f"{number} {pick(STREETS)}" if rng.random() < 0.7 else f"{pick(STREETS)} {number}"
    if kind == "postcode":
        short, letters = rng.randint(1000, 9999), pick("ABCDEGHK") + pick("ABCDEGHK")
        return pick((f"{rng.randint(10000, 99999)}", f"{short}", f"{short} {letters}"))
    if kind == "code":
        head = "".join(pick("ABCDEFGHKLMNPRSTUVWX") for _ in range(rng.randint(1, 3)))
        digits = rng.randint(100, 99999)
        return pick(
            (f"{head}-{digits}", f"{head}{digits}", f"{head}-{rng.randint(2023, 2027)}-{digits}", str(digits))
        )
    if kind == "thing":
        return pick(
            (f"{pick(FIRMS)} {pick(GOODS)}", f"{pick(KINDS_OF)} {pick(GOODS)}", f"{pick(FIRST)} {pick(LAST)}")
        )
    lists = {"city": CITIES, "country": COUNTRIES, "job": JOBS, "skill": SKILLS, "tag": TAGS, "colour": COLOURS,
             "remark": REMARKS, "subject": SUBJECTS, "dish": DISHES}  # fmt: skip
    return pick(lists[kind])
