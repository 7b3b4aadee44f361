"""Values that people would say for an API's parameters, by name and type: one pool for each parameter."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_sources import Param, singular, split_words

Pool = Any
POOL_SIZE = 12

ACRONYMS = {
    "id", "arn", "db", "vpc", "iam", "acl", "api", "url", "uri", "ip", "ssl", "tls", "kms", "dns", "http", "https",
    "aws", "sns", "sqs", "ec2", "s3", "ebs", "efs", "vpn", "cidr", "sql", "csv", "saml", "oidc", "mfa", "sso", "ssh",
    "cpu", "gpu", "ssm", "waf", "ami", "bgp", "sdk", "io", "ml", "ai", "pdf", "rds", "ecs", "eks", "cdn", "mac", "tcp",
    "udp", "ttl", "uuid", "sms", "gcp", "os", "nat", "ui", "gb", "mb", "etl", "iot", "kpi", "qr", "tv", "rpc", "vm",
    "isbn", "utc", "json", "faq", "ipam", "msk", "emr", "slo", "sla", "cmk", "hsm", "xml", "html", "tgw", "hit",
}  # fmt: skip
_MIXED = {"ipv4": "IPv4", "ipv6": "IPv6", "ids": "IDs", "arns": "ARNs", "urls": "URLs", "vpcs": "VPCs", "apis": "APIs",
          "acls": "ACLs", "ips": "IPs", "dbs": "DBs", "amis": "AMIs", "vms": "VMs", "oauth": "OAuth",
          "num": "number", "identifier": "identifier", "fpgas": "FPGAs", "hits": "HITs"}  # fmt: skip


def spoken(words: tuple[str, ...]) -> str:
    """``("db", "instance", "ids")`` → ``DB instance IDs``."""
    return " ".join(_MIXED.get(w, w.upper() if w in ACRONYMS else w) for w in words)


# --- what kind of value a parameter takes --------------------------------------------------------

_KINDS: tuple[tuple[str, str], ...] = (
    ("email", r"e ?mail( address)?|mail|.*\bemail( address)?"),
    ("phone", r".*(phone|phone number|mobile|msisdn)"),
    ("url", r".*(url|uri|website|webhook|site|link)"),
    ("arn", r".*arn"),
    ("cidr", r".*cidr.*"),
    ("ip", r".*\bip|.*ip address|.*ipv4( address)?"),
    ("region", r".*region|aws region( name)?|.*location|.*locations id"),
    ("zone", r".*zone|availability zone( id| name)?"),
    ("timezone", r".*time ?zone( code| id)?"),
    ("country", r".*country( code)?"),
    ("language", r".*(language|locale|language code|locale code|hl)"),
    ("currency", r".*currency( code)?"),
    ("account", r".*(account id|account number|owner id|aws account|accounts id)|account"),
    ("runtime", r".*runtime"),
    ("engine", r"engine|database engine|db engine"),
    ("machine", r".*(instance type|instance class|node type|machine type|compute type)"),
    ("version", r".*(version|version id|version number)"),
    ("query", r"q|query|.*(search|keyword|search term|search query|query text|query string)"),
    ("text", r".*(description|comment|comments|reason|message|text|body|note|notes|summary|content|prompt|question|"
             r"remarks|justification|instructions|explanation|detail|answer)"),
    ("title", r".*(title|subject|display name|label|caption|headline|friendly name)"),
    ("person", r"(full|first|last|given|family|contact|author|customer|person) name|(author|artist)"),
    ("user", r".*(user name|username|user|login|principal|assignee|owner|user key|member key|creator)"),
    ("city", r".*(city|town)"),
    ("postcode", r".*(postal code|zip code|postcode|zip)"),
    ("address", r"(street |mailing |postal )?address( line( \d)?)?"),
    ("domain", r".*(domain|domain name|host|host ?name|hosted zone name)"),
    ("path", r".*(path|prefix|file ?name|folder name|directory|object key|s3 key|object|file)"),
    ("status", r".*(status|state)"),
    ("duration", r".*(period|duration|interval) (iso|string)"),
    ("id", r".*(id|ids|identifier|uuid|number|handle|guid|identifiers)"),
    ("word", r".*(type|mode|category|level|scope|format|protocol|class|tier|unit|group by|dimension|method|action|"
             r"role|size|feature|attribute|attribute name|field|property|event|operation|service|platform|color)"),
)  # fmt: skip
_START = re.compile(r".*\b(start|from|since|after|begin|beginning|min|earliest|starting|opens?)\b.*")
_END = re.compile(r".*\b(end|to|until|before|max|latest|ending|expir\w+|expiry|due|finish|ttl|closes?)\b.*")
_LIMIT = re.compile(r"(max|maximum|num|page|limit)? ?(results?|items?|records?|size|limit|keys|count|max results)"
                    r"|limit|top|max (results|items|records)|page size|.* limit size|results per page|num results")  # fmt: skip


def kind_of(param: Param) -> str:
    """What sort of value `param` takes: decides the pool and how the value is put in a sentence."""
    schema, words = param.schema, " ".join(param.words)
    if schema["type"] == "boolean":
        return "bool"
    if schema["type"] == "object":
        return "struct"
    if schema["type"] == "array":
        return "list"
    if "enum" in schema or param.choices:
        return "enum"
    if "format" in schema:
        return "start" if _START.fullmatch(words) else "end" if _END.fullmatch(words) else "date"
    if schema["type"] in ("integer", "number"):
        return "limit" if _LIMIT.fullmatch(words) else "number"
    if param.pattern:
        return "resource"
    return next((kind for kind, pattern in _KINDS if re.fullmatch(pattern, words)), "name")


def pool_for(param: Param, noun: tuple[str, ...], service: str, rng: random.Random) -> Pool:
    """The pool of values for `param` (see `ToolSpec`), or a pool without a value where none fits."""
    kind, words = kind_of(param), " ".join(param.words)
    if kind == "bool":
        return _booleans(param.words, rng)
    if kind == "enum":
        return _enum(param.schema.get("enum") or list(param.choices), rng)
    if kind == "list":
        return _list(param, noun, service, rng)
    if kind == "struct":
        return _structs(param, noun, service, rng)
    if kind in ("start", "end", "date"):
        return _dates(kind, param.schema["format"], rng)
    if kind in ("number", "limit"):
        return _numbers(words, param.schema, kind)
    if kind == "resource":
        return _unique(lambda: _from_pattern(param.pattern, rng))
    thing = about(param.words) or noun
    return _strings(kind, words, thing, service, rng)


def about(words: tuple[str, ...]) -> tuple[str, ...]:
    """The thing that an id or name belongs to: ``("db", "instance", "identifier")`` → ``("db", "instance")``."""
    kept = list(words)
    while kept and kept[-1] in (
        "id",
        "ids",
        "identifier",
        "identifiers",
        "name",
        "names",
        "arn",
        "arns",
        "key",
        "number",
    ):
        kept.pop()
    return tuple(kept)


def _unique(draw: Callable[[], Any], n: int = POOL_SIZE) -> list[Any]:
    found: list[Any] = []
    for _ in range(n * 4):
        value = draw()
        if value not in found:
            found.append(value)
        if len(found) == n:
            break
    return found


# --- strings --------------------------------------------------------------------------------------

_HEADS = (
    "billing", "checkout", "payments", "search", "reports", "marketing", "analytics", "inventory", "onboarding", "support",
    "newsletter", "mobile", "warehouse", "loyalty", "shipping", "orders", "catalog", "staff", "invoice", "audit",
    "archive", "media", "customer", "events", "survey", "finance", "recruiting", "website", "fraud", "pricing", "partner",
    "harbor", "falcon", "juniper", "aurora", "maple", "cobalt", "willow", "orion", "summit",
)  # fmt: skip
_TAILS = (
    "prod", "dev", "staging", "test", "eu", "us", "v2", "backup", "main", "nightly", "weekly", "internal", "public",
    "demo", "old", "2026", "blue", "green", "primary", "west", "pilot", "sandbox", "7", "team", "shared", "data",
)  # fmt: skip
_TITLES = (
    "Quarterly report", "Spring campaign", "Team offsite", "Welcome aboard", "Summer sale", "Product launch",
    "Customer survey", "Release notes", "Budget review", "Weekly digest", "Staff handbook", "Night shift rota",
    "New hire checklist", "Price list", "Photo archive", "Incident summary", "Board meeting", "Garden tour",
    "Field trip", "Holiday calendar", "Data cleanup", "Lunch menu", "Sales figures", "Road map",
)  # fmt: skip
_TEXTS = (
    "used by the finance team", "temporary, remove after the launch", "created for the spring campaign",
    "please check before Friday", "customer asked for a refund", "moved to the new account",
    "no longer needed after the migration", "owned by the platform team", "nightly export for the warehouse",
    "the numbers look wrong since Monday", "requested by Maria in support", "first draft, not reviewed yet",
    "shared with our partners in Porto", "keeps the raw sensor readings", "replaces the old setup",
    "testing the new pricing", "approved by the security review", "wrong address on file",
    "back online after the outage", "for the summer interns",
)  # fmt: skip
_QUERIES = (
    "late invoices", "failed logins", "red running shoes", "annual report", "solar panels", "coffee near me",
    "battery warranty", "vegan recipes", "unpaid orders", "remote work policy", "used bicycles", "jazz festivals",
    "winter tires", "camping gear", "password reset", "history of bridges", "delivery delays", "travel insurance",
)  # fmt: skip
_PEOPLE = ("maria", "jonas", "priya", "tom", "aisha", "lukas", "chen", "olivia", "diego", "hana", "samir", "nora", "felix",
           "ines", "kofi", "elena")  # fmt: skip
_SURNAMES = (
    "lopez",
    "berg",
    "shah",
    "clark",
    "khan",
    "weber",
    "wei",
    "stone",
    "ruiz",
    "sato",
    "haddad",
    "lind",
)
_HOSTS = ("example.com", "acme.io", "northwind.org", "shop.example.net", "blueharbor.com", "greenleaf.dev", "api.acme.io",
          "mail.northwind.org", "orchard.app", "status.blueharbor.com", "tidewater.co", "lumen.studio")  # fmt: skip
_LISTS: dict[str, tuple[str, ...]] = {
    "region": ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-2", "ap-northeast-1", "sa-east-1",
               "ca-central-1", "eu-north-1", "us-east-2", "ap-south-1", "eu-west-3"),
    "google region": ("us-central1", "europe-west1", "europe-west4", "asia-east1", "us-east4", "australia-southeast1",
                      "southamerica-east1", "asia-northeast1", "us-west2", "europe-north1"),
    "zone": ("us-east-1a", "us-east-1c", "eu-west-1b", "eu-central-1a", "ap-southeast-2b", "us-west-2d", "sa-east-1a"),
    "google zone": ("us-central1-a", "europe-west1-b", "asia-east1-c", "us-east4-b", "europe-west4-a", "us-west2-c"),
    "timezone": ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC", "Australia/Sydney", "America/Sao_Paulo",
                 "Europe/London", "Asia/Kolkata", "Africa/Nairobi"),
    "country": ("DE", "US", "JP", "BR", "FR", "IN", "CA", "ES", "NL", "SE", "MX", "PT"),
    "language": ("en", "de", "fr", "es", "pt-BR", "ja", "en-US", "en-GB", "it", "ko", "nl", "sv"),
    "currency": ("EUR", "USD", "GBP", "JPY", "CHF", "SEK", "CAD", "AUD", "BRL"),
    "runtime": ("python3.12", "nodejs20.x", "java21", "ruby3.3", "dotnet8", "python3.11", "go1.22", "nodejs22.x"),
    "engine": ("postgres", "mysql", "mariadb", "redis", "aurora-mysql", "aurora-postgresql", "valkey", "neptune"),
    "machine": ("t3.micro", "m5.large", "c6g.xlarge", "r5.2xlarge", "t4g.small", "m7i.large", "c5.4xlarge", "g5.xlarge"),
    "google machine": ("e2-medium", "n2-standard-4", "n1-standard-1", "c3-standard-8", "e2-small", "n2-highmem-8"),
    "version": ("1.2", "2.0", "3", "14.7", "1.29", "8.0.35", "2.1.0", "5", "15.4", "0.9.1", "4.2", "7"),
    "status": ("active", "pending", "failed", "completed", "running", "archived", "paused", "stopped"),
    "city": ("Berlin", "Lisbon", "Osaka", "Denver", "Nairobi", "Toronto", "Lyon", "Austin", "Porto", "Helsinki"),
    "postcode": ("10115", "94107", "75011", "SW1A 1AA", "60614", "1000-260", "M5V 2T6", "8004"),
    "address": ("12 Elm Street", "48 Harbor Road", "221 Queen Street West", "7 Mill Lane", "9 Rue Lamarck", "310 Pine Avenue"),
    "cidr": ("10.0.0.0/16", "172.31.0.0/20", "192.168.10.0/24", "10.20.4.0/22", "203.0.113.0/24", "10.8.0.0/21"),
    "duration": ("PT1H", "PT30M", "P1D", "P7D"),
}  # fmt: skip
_WORDS: dict[str, tuple[str, ...]] = {
    "role": ("admin", "viewer", "editor", "owner", "operator", "auditor", "billing"),
    "format": ("csv", "json", "parquet", "pdf", "xml", "mp4", "png"),
    "protocol": ("https", "tcp", "udp", "http", "tls", "sftp"),
    "size": ("small", "medium", "large", "xlarge", "compact"),
    "service": ("billing", "search", "checkout", "catalog", "notifications", "identity", "shipping"),
    "color": ("red", "blue", "teal", "orange", "grey", "purple"),
    "level": ("low", "medium", "high", "info", "warning", "error"),
    "platform": ("linux", "windows", "android", "ios", "macos"),
    "tier": ("standard", "premium", "basic", "free", "enterprise"),
    "unit": ("bytes", "seconds", "percent", "count", "hours"),
    "attribute": ("color", "owner", "created_at", "status", "price", "team", "region"),
    "field": ("status", "owner", "created_at", "price", "title", "region"),
}


def _strings(kind: str, words: str, thing: tuple[str, ...], service: str, rng: random.Random) -> list[Any]:
    if kind == "region" and words.split()[-1] == "location" and rng.random() < 0.5:
        kind = "google region"
    if kind in _LISTS:
        return list(_LISTS[kind])
    if kind == "word":
        last = words.split()[-1]
        return list(
            _WORDS.get(last, ("standard", "custom", "basic", "internal", "advanced", "default", "external"))
        )
    people = _unique(lambda: (rng.choice(_PEOPLE), rng.choice(_SURNAMES)))
    if kind == "email":
        return [rng.choice((f"{a}.{b}", a, f"{a}{b[0]}")) + "@" + rng.choice(_HOSTS) for a, b in people]
    if kind == "user":
        style = rng.choice(("{a}.{b}", "{a}", "{a}_{b}", "{a}{b[0]}"))
        return list(dict.fromkeys(style.format(a=a, b=b) for a, b in people))
    if kind == "person":
        return [f"{a.title()} {b.title()}" for a, b in people]
    draws: dict[str, Callable[[], str]] = {
        "phone": lambda: f"+{rng.choice((1, 44, 49, 81))}{rng.randint(200, 999)}555{rng.randint(1000, 9999)}",
        "url": lambda: (
            f"https://{rng.choice(_HOSTS)}/{rng.choice(_HEADS)}"
            + rng.choice(("", "/index.html", f"/{rng.choice(_TAILS)}"))
        ),
        "ip": lambda: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
        "account": lambda: str(rng.randint(10**11, 10**12 - 1)),
        "text": lambda: rng.choice(_TEXTS),
        "title": lambda: rng.choice(_TITLES),
        "query": lambda: rng.choice(_QUERIES),
        "domain": lambda: rng.choice(_HOSTS),
        "path": _paths(words, rng),
        "arn": lambda: _arn(thing, service, rng),
    }
    if kind in draws:
        return _unique(draws[kind])
    return _unique(_ids(words, thing, rng) if kind == "id" else _names(rng))


def _names(rng: random.Random) -> Callable[[], str]:
    style = rng.choice(("kebab", "kebab", "kebab", "snake", "camel", "one", "title", "mixed"))

    def draw() -> str:
        head, tail, way = rng.choice(_HEADS), rng.choice(_TAILS), style
        if way == "mixed":
            way = rng.choice(("kebab", "snake", "one", "camel"))
        return {
            "kebab": f"{head}-{tail}", "snake": f"{head}_{tail}", "camel": head.title() + tail.title(),
            "one": head, "title": f"{head.title()} {tail}",
        }[way]  # fmt: skip

    return draw


_PREFIXES = {"instance": "i", "volume": "vol", "snapshot": "snap", "image": "ami", "group": "sg", "subnet": "subnet",
             "vpc": "vpc", "gateway": "gw", "table": "rtb", "interface": "eni", "endpoint": "vpce"}  # fmt: skip


def _ids(words: str, thing: tuple[str, ...], rng: random.Random) -> Callable[[], str]:
    last = singular(thing)[-1] if thing else "id"
    prefix = _PREFIXES.get(last, last[: rng.choice((2, 3, 4))].rstrip("-"))
    style = rng.choice(("hex", "hex", "hex", "digits", "upper", "slug", "slug", "short", "uuid"))
    if "number" in words:
        style = "digits"
    length = rng.choice((8, 8, 10, 17)) if style == "hex" else rng.choice((5, 7, 9))
    slug = _names(rng)

    def draw() -> str:
        if style == "hex":
            return f"{prefix}-{rng.getrandbits(4 * length):0{length}x}"
        if style == "digits":
            return str(rng.randint(10 ** (length - 1), 10**length - 1))
        if style == "upper":
            return "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(10))
        if style == "short":
            return f"{prefix.upper()}{rng.randint(100, 9999)}"
        if style == "uuid":
            bits = f"{rng.getrandbits(128):032x}"
            return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"
        return slug()

    return draw


def _paths(words: str, rng: random.Random) -> Callable[[], str]:
    ends = (
        ("/",)
        if "prefix" in words or "folder" in words or "director" in words
        else (".csv", ".json", ".pdf", ".png", ".txt")
    )
    return lambda: (
        f"{rng.choice(_HEADS)}/{rng.choice(('2025', '2026', 'q1', 'q3', 'raw', 'march', 'inbox'))}{rng.choice(ends)}"
    )


def _arn(owner: tuple[str, ...], service: str, rng: random.Random) -> str:
    region, account = rng.choice(_LISTS["region"]), rng.randint(10**11, 10**12 - 1)
    thing = "-".join(singular(owner[-2:])) or "resource"
    if thing in ("role", "policy", "execution-role", "service-role", "user"):
        return f"arn:aws:iam::{account}:{thing.split('-')[-1]}/{rng.choice(_HEADS)}-{rng.choice(_TAILS)}"
    return f"arn:aws:{service}:{region}:{account}:{thing}/{rng.choice(_HEADS)}-{rng.choice(_TAILS)}"


def _from_pattern(pattern: str, rng: random.Random) -> str:
    """A Google resource name for ``^projects/[^/]+/zones/[^/]+$``."""
    parts, before = [], ""
    for part in pattern.strip("^$").split("/"):
        # [^/]+ itself holds a slash, so it arrives in two pieces
        if part == "[^":
            continue
        if part.startswith("]"):
            before = parts[-1] if parts else ""
            place = {"locations": "google region", "regions": "google region", "zones": "google zone"}.get(
                before
            )
            parts.append(rng.choice(_LISTS[place]) if place else f"{rng.choice(_HEADS)}-{rng.choice(_TAILS)}")
        else:
            parts.append(part.replace("\\", ""))
    return "/".join(parts)


# --- numbers, dates, lists, enumerations, booleans, objects -----------------------------------------

_RANGES: tuple[tuple[str, int, int], ...] = (
    (r"port", 1024, 9000), (r"percent|ratio|percentage", 5, 95), (r"days", 1, 90), (r"hours", 1, 72), (r"minutes", 5, 120),
    (r"seconds|timeout|ttl", 10, 900), (r"millis|ms", 100, 5000), (r"gb|gib|storage|disk|size", 10, 500), (r"mb|memory", 128, 4096),
    (r"year", 2020, 2026), (r"month", 1, 12), (r"day", 1, 28), (r"hour", 0, 23), (r"id", 1000, 99999), (r"width|height", 100, 2000),
    (r"min|minimum", 1, 4), (r"max|maximum", 5, 40), (r"version", 1, 20), (r"price|amount|budget|cost", 5, 900),
)  # fmt: skip


def _numbers(words: str, schema: JSON, kind: str) -> Pool:
    low, high = (5, 100) if kind == "limit" else (1, 50)
    for pattern, least, most in _RANGES if kind != "limit" else ():
        if re.search(rf"\b({pattern})\b", words):
            low, high = least, most
            break
    least, most = schema.get("minimum", low), schema.get("maximum", high)
    low, high = max(low, least), min(high, most)
    if low > high:
        low, high = least, most
        high = min(high, low + 200)
    if schema["type"] == "integer":
        return {"integers": [int(low), max(int(low), int(high))]}
    return {"numbers": [low, high], "decimals": 1 if high > low + 1 else 2}


_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def _dates(kind: str, layout: str, rng: random.Random) -> Pool:
    """Starts lie in the first half of 2026, ends in the second, so that both in one request make sense."""
    first, last = {"start": (1, 6), "end": (7, 12), "date": (1, 12)}[kind]
    style, moments = rng.choice(("iso", "iso", "words")), []
    for _ in range(POOL_SIZE):
        month, day, hour = rng.randint(first, last), rng.randint(1, 28), rng.randint(6, 21)
        minute = rng.choice(("00", "00", "30", "15"))
        value, words = f"2026-{month:02}-{day:02}", f"{_MONTHS[month - 1]} {day}, 2026"
        if layout == "date-time":
            value, words = f"{value}T{hour:02}:{minute}:00Z", f"{words} at {hour:02}:{minute} UTC"
        moments.append({"say": words, "value": value} if style == "words" else value)
    return moments


def _list(param: Param, noun: tuple[str, ...], service: str, rng: random.Random) -> Pool:
    items = param.schema["items"]
    one = Param(param.name, singular(param.words), items, True, "", "", param.choices)
    entries = pool_for(one, noun, service, rng)
    if not isinstance(entries, list):
        return {"list_of": []}
    return {"list_of": entries, "min": 1, "max": min(rng.choice((2, 3, 3)), len(entries))}


def enum_words(value: str) -> str:
    """``INFREQUENT_ACCESS`` → ``infrequent access``; values with digits or marks stay as they are."""
    if not re.fullmatch(r"[A-Za-z]+([_\- ]?[A-Za-z]+)*", value):
        return value
    words = [
        w
        for part in re.split(r"[_\- ]", value)
        for w in (split_words(part) if not part.isupper() else (part.lower(),))
    ]
    return spoken(tuple(words))


def _enum(values: list[str], rng: random.Random) -> list[Any]:
    values = [v for v in values if v and len(v) < 40][:40]
    said = [enum_words(v) for v in values]
    if rng.random() < 0.35 or len({s.lower() for s in said}) < len(values):
        return values
    return [
        value if word == value else {"say": word, "value": value}
        for word, value in zip(said, values, strict=True)
    ]


_ACTS = ("delete", "copy", "allow", "apply", "return", "retain", "use", "disable", "show", "keep", "create", "overwrite", "ignore",
         "send", "notify", "require", "remove", "wait", "preserve", "force", "fail", "do", "terminate", "publish",
         "restore", "update", "replace", "exclude", "skip", "export", "log", "propagate", "attach", "grant", "block",
         "share", "encrypt", "rotate", "sync", "run", "accept", "deploy", "reset", "prevent", "protect", "stop",
         "convert", "enforce", "promote", "include", "associate", "assign", "associate", "hide")  # fmt: skip


def _booleans(words: tuple[str, ...], rng: random.Random) -> list[Any]:
    """Adverbial phrases for true and false, such as ``with deletion protection on``."""
    rest = words[1:]
    thing = spoken(rest)
    if words[0] in ("include", "enable", "enabled", "with", "is", "has", "auto") and not rest:
        thing = ""
    if words[0] == "include" and rest:
        yes, no = (
            [f"including {thing}", f"with {thing} included"],
            [f"without {thing}", f"leaving out {thing}"],
        )
    elif words[0] in ("enable", "enabled") and rest:
        yes, no = (
            [f"with {thing} enabled", f"with {thing} switched on"],
            [f"with {thing} disabled", f"with {thing} off"],
        )
    elif words[-1] in ("enabled", "enable") and len(words) > 1:
        thing = spoken(words[:-1])
        yes, no = (
            [f"with {thing} on", f"with {thing} enabled"],
            [f"with {thing} off", f"with {thing} disabled"],
        )
    elif words[0] == "is" and rest:
        yes, no = (
            [f"and mark it as {thing}", f"and it is {thing}"],
            [f"and mark it as not {thing}", f"and it is not {thing}"],
        )
    elif words == ("force",):
        yes, no = ["and force it", "forcing it"], ["without forcing it", "and do not force it"]
    elif words[0] in _ACTS and rest:
        whole = spoken(words)
        yes, no = [f"and {whole}", f"and yes, {whole}"], [f"and do not {whole}", f"and don't {whole}"]
    elif words[-1].endswith(("able", "ible", "ed", "only", "al")):
        yes, no = [f"and make it {spoken(words)}", f"and it has to be {spoken(words)}"], [
            f"and not {spoken(words)}", f"and it must not be {spoken(words)}"]  # fmt: skip
    else:
        whole = spoken(words)
        yes, no = (
            [f"with {whole} on", f"with {whole} turned on"],
            [f"with {whole} off", f"with {whole} turned off"],
        )
    pairs = [{"say": s, "value": True} for s in yes] + [{"say": s, "value": False} for s in no]
    rng.shuffle(pairs)
    return pairs


def _structs(param: Param, noun: tuple[str, ...], service: str, rng: random.Random) -> list[Any]:
    """Objects said as ``min size 2 and max size 5``: the required members and some of the others."""
    members = param.schema["properties"]
    required = param.schema.get("required", ())
    pools: dict[str, Pool] = {}
    for name, schema in members.items():
        one = Param(name, split_words(name), schema, True, "")
        pools[name] = [{"say": f"{spoken(one.words)} {word}", "value": flag} for word, flag in (("on", True), ("off", False))] if (
            schema["type"] == "boolean") else pool_for(one, noun, service, rng)  # fmt: skip
    entries: list[Any] = []
    for _ in range(8):
        chosen = [n for n in members if n in required or rng.random() < 0.6] or list(members)[:1]
        said, value = [], {}
        for name in chosen:
            words, value[name] = _one(pools[name], rng)
            flag = members[name]["type"] == "boolean"
            said.append(words if flag else f"{spoken(split_words(name))} {words}")
        entry = {
            "say": f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else said[0],
            "value": value,
        }
        if entry not in entries:
            entries.append(entry)
    return entries


def _one(pool: Pool, rng: random.Random) -> tuple[str, Any]:
    if isinstance(pool, dict):
        low, high = pool.get("integers") or pool["numbers"]
        number = (
            rng.randint(low, high) if "integers" in pool else round(rng.uniform(low, high), pool["decimals"])
        )
        return str(number), number
    entry = rng.choice(pool)
    return (entry["say"], entry["value"]) if isinstance(entry, dict) else (str(entry), entry)
